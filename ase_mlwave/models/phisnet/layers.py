"""Layers that act on every order of node features separately: linear, activation, gate, residual."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.couplings import ChannelCoupling
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.packing import PackedModule

__all__ = ["GeneralisedSwish", "MixingLinear", "OrderLinear", "OrderWeights", "ResidualBlock", "ScalarGate"]

#: Channels up to which one batched product over all rows is faster on a CPU than one product an order.
_SMALL = 64


class OrderLinear(PackedModule):
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
        self.layout = layout
        self.register_buffer("order_of_row", layout.order_of_row, persistent=False)

    @property
    def packed_from(self) -> tuple[Tensor, ...]:
        """Matrices and bias."""
        return self.weight, self.bias

    def pack(self) -> OrderWeights:
        """Bring matrices and bias to the rows of the features."""
        return OrderWeights.of(self.weight, self.bias, self.layout, self.order_of_row)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map features (R, N, F_in), or the rows of their first orders, to (R, N, F_out)."""
        weights: OrderWeights = self.packed()
        return weights(x)


@dataclass(frozen=True)
class OrderWeights:
    """Matrices of an `OrderLinear` in the form that is fastest for their size.

    Parameters
    ----------
    by_row : Tensor or None, (R, F_in, F_out)
        One matrix a row, for a single batched product: best for small matrices, and where launching kernels costs.
    by_order : tuple of Tensor, (F_in, F_out)
        One matrix an order instead, for large matrices on a CPU, which would be read 2l + 1 times.
    widths : tuple of int
        Rows of each order.
    bias : Tensor
        (R, 1, F_out) beside ``by_row``, otherwise (F_out,); for invariants only.
    """

    by_row: Tensor | None
    by_order: tuple[Tensor, ...]
    widths: tuple[int, ...]
    bias: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, layout: OrderLayout, order_of_row: Tensor) -> OrderWeights:
        """Choose the form for matrices (orders, F_in, F_out) and a bias (F_out,)."""
        widths = tuple(2 * l + 1 for l, _ in layout.orders)
        if weight.device.type == "cpu" and weight.shape[1] > _SMALL:
            return cls(None, weight.unbind(), widths, bias)
        bias = nn.functional.pad(bias[None, None], (0, 0, 0, 0, 0, layout.n_rows - 1))
        return cls(weight.index_select(0, order_of_row), (), widths, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Map features (R, N, F_in), or the rows of their first orders, to (R, N, F_out)."""
        if self.by_row is not None:
            return torch.baddbmm(self.bias[: len(x)], x, self.by_row[: len(x)])
        n_orders = list(accumulate(self.widths)).index(len(x)) + 1
        scalars, *others = x.split(self.widths[:n_orders])
        first, *matrices = self.by_order[:n_orders]
        rest = [rows @ matrix for rows, matrix in zip(others, matrices, strict=True)]
        return torch.cat([torch.addmm(self.bias, scalars[0], first)[None], *rest])


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
        """Map features (R, N, F) to the same shape."""
        order_of_row: Tensor = self.linear.order_of_row  # type: ignore[assignment]
        kept = x * self.keep.index_select(0, order_of_row)[:, None]
        result: Tensor = self.linear(kept + self.coupling(x, x, self.weight))
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
        """Map features (R, N, F) to the same shape."""
        scalars, rest = x.split([1, x.shape[0] - 1])
        return torch.cat([scalars * self.a * torch.sigmoid(self.b * scalars), rest])


class ScalarGate(PackedModule):
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
        self.layout = layout
        self.swish = GeneralisedSwish(features)
        self.gate = nn.Linear(features, (len(layout.orders) - 1) * features)
        self.register_buffer("order_of_row", layout.order_of_row, persistent=False)

    @property
    def packed_from(self) -> tuple[Tensor, ...]:
        """Parameters of the swish and of the gates."""
        return self.swish.a, self.swish.b, self.gate.weight, self.gate.bias

    def pack(self) -> tuple[Tensor, Tensor, Tensor]:
        """Join swish and gates: matrices (orders, F, F), biases and sizes (orders, 1, F) of their sigmoid functions."""
        a, b, weight, bias = self.packed_from
        features = len(a)
        matrices = weight.view(-1, features, features).transpose(1, 2)
        biases = nn.functional.pad(bias.view(-1, 1, features), (0, 0, 0, 0, 1, 0))
        sizes = torch.cat([a.view(1, 1, features), torch.full_like(matrices[:, :1], 2.0)])
        return torch.cat([torch.diag(b)[None], matrices]), biases, sizes

    def forward(self, x: Tensor) -> Tensor:
        """Map features (R, N, F), or the rows of their first orders, to the same shape."""
        order_of_row: Tensor = self.order_of_row[: len(x)]  # type: ignore[index]
        weights: tuple[Tensor, Tensor, Tensor] = self.packed()
        n_orders = self.layout.n_orders(x.shape[0])
        matrices, biases, sizes = (w[:n_orders] for w in weights)
        scalars = x[0].expand(len(matrices), -1, -1)
        factors = torch.sigmoid(torch.baddbmm(biases, scalars, matrices)) * sizes  # (orders, N, F)
        return x * factors.index_select(0, order_of_row)


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
        """Map features (R, N, F) to the same shape."""
        result: Tensor = x + self.branch(x)
        return result
