"""Layers that act on every order of node features separately: linear, activation, gate, residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.couplings import ChannelCoupling
from ase_mlwave.models.phisnet.orders import OrderLayout

__all__ = ["GeneralisedSwish", "MixingLinear", "OrderLinear", "ResidualBlock", "ScalarGate"]


class OrderLinear(nn.Module):
    """Mix channels with one matrix per order; a bias for invariants only.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    n_in, n_out : int
        Channels.
    zero : bool
        Start with weights of zero, so that a residual block starts as the identity.
    """

    def __init__(self, layout: OrderLayout, n_in: int, n_out: int, *, zero: bool = False) -> None:
        super().__init__()
        weight = torch.zeros(len(layout.orders), n_in, n_out)
        if not zero:
            for matrix in weight:
                nn.init.orthogonal_(matrix) if n_in == n_out else nn.init.normal_(matrix, std=n_in**-0.5)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.register_buffer("order_of_row", layout.order_of_row, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, R, F_in) to (N, R, F_out)."""
        order_of_row: Tensor = self.order_of_row  # type: ignore[assignment]
        y = torch.bmm(x.transpose(0, 1), self.weight[order_of_row]).transpose(0, 1)
        return y + nn.functional.pad(self.bias[None], (0, 0, 0, y.shape[1] - 1))


class MixingLinear(nn.Module):
    """Let the orders of an atom's features mix with one another, then mix channels.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels.
    zero : bool
        Start the mixing of channels with weights of zero.

    Notes
    -----
    Each order becomes ``keep`` times itself plus a learned sum over couplings of two different orders.
    Differs from the paper: couplings conserve parity, and both parities take part.
    Source: Unke et al. 2021, self-mixing and linear layers.
    """

    def __init__(self, layout: OrderLayout, features: int, *, zero: bool = False) -> None:
        super().__init__()
        self.coupling = ChannelCoupling(layout, distinct=True)
        incoming = self.coupling.n_incoming
        sizes = torch.tensor([0.1 * incoming[end] ** -0.5 for _, _, end in self.coupling.paths])
        self.keep = nn.Parameter(torch.ones(len(layout.orders), features))
        self.weight = nn.Parameter(torch.randn(len(sizes), features) * sizes[:, None])
        self.linear = OrderLinear(layout, features, features, zero=zero)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, R, F) to the same shape."""
        rows = x.transpose(0, 1)
        order_of_row: Tensor = self.linear.order_of_row  # type: ignore[assignment]
        mixed = rows * self.keep[order_of_row][:, None] + self.coupling(rows, rows, self.weight)
        result: Tensor = self.linear(mixed.transpose(0, 1))
        return result


class GeneralisedSwish(nn.Module):
    """Apply a x sigmoid(b x) to invariants, with a and b learned per channel; other orders pass.

    Notes
    -----
    Source: Unke et al. 2021, activation function.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(features))
        self.b = nn.Parameter(torch.full((features,), 1.702))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, R, F) to the same shape."""
        scalars, rest = x.split([1, x.shape[1] - 1], dim=1)
        return torch.cat([scalars * self.factor(scalars), rest], dim=1)

    def factor(self, scalars: Tensor) -> Tensor:
        """Give a sigmoid(b x), by which invariants are multiplied."""
        return self.a * torch.sigmoid(self.b * scalars)


class ScalarGate(nn.Module):
    """Activate invariants and scale every other order by a smooth function of the invariants.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels.

    Notes
    -----
    Differs from the paper: there orders l > 0 are never gated.
    """

    def __init__(self, layout: OrderLayout, features: int) -> None:
        super().__init__()
        self.swish = GeneralisedSwish(features)
        self.gate = nn.Linear(features, (len(layout.orders) - 1) * features)
        self.register_buffer("order_of_row", layout.order_of_row, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, R, F) to the same shape."""
        order_of_row: Tensor = self.order_of_row  # type: ignore[assignment]
        n, _, features = x.shape
        scalars = x[:, 0]
        n_gates = self.gate.out_features // features
        gates = 2 * torch.sigmoid(self.gate(scalars)).view(n, n_gates, features)  # (N, orders - 1, F)
        factors = torch.cat([self.swish.factor(scalars)[:, None], gates], dim=1)
        return x * factors[:, order_of_row]


class ResidualBlock(nn.Module):
    """Add lin(act(lin(act(x)))) to x; the last layer starts at zero.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels.
    gated : bool
        Gate all orders and mix channels only; otherwise the paper's activation and linear layers.

    Notes
    -----
    Source: Unke et al. 2021, residual block.
    """

    def __init__(self, layout: OrderLayout, features: int, *, gated: bool) -> None:
        super().__init__()

        def activation() -> nn.Module:
            return ScalarGate(layout, features) if gated else GeneralisedSwish(features)

        def linear(*, zero: bool) -> nn.Module:
            if gated:
                return OrderLinear(layout, features, features, zero=zero)
            return MixingLinear(layout, features, zero=zero)

        self.branch = nn.Sequential(activation(), linear(zero=False), activation(), linear(zero=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, R, F) to the same shape."""
        result: Tensor = x + self.branch(x)
        return result
