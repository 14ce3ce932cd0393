"""Layers that act on every order of node features separately: linear, activation, gate, residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ase_mlwave.phisnet.orders import OrderLayout

__all__ = ["GeneralisedSwish", "OrderLinear", "ResidualBlock", "ScalarGate"]


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
        gates = 2 * torch.sigmoid(self.gate(scalars)).view(n, -1, features)  # (N, orders - 1, F)
        factors = torch.cat([self.swish.factor(scalars)[:, None], gates], dim=1)
        return x * factors[:, order_of_row]


class ResidualBlock(nn.Module):
    """Add lin(act(lin(act(x)))) to x; the last layer starts at zero.

    Notes
    -----
    Source: Unke et al. 2021, residual block.
    """

    def __init__(self, layout: OrderLayout, features: int, *, gated: bool) -> None:
        super().__init__()

        def activation() -> nn.Module:
            return ScalarGate(layout, features) if gated else GeneralisedSwish(features)

        self.branch = nn.Sequential(
            activation(),
            OrderLinear(layout, features, features),
            activation(),
            OrderLinear(layout, features, features, zero=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, R, F) to the same shape."""
        return x + self.branch(x)
