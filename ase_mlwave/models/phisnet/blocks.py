"""From coupled coefficients to matrix blocks: one linear head per element or pair of elements, and assembly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.moments import Moments
from ase_mlwave.models.phisnet.orders import Order, OrderLayout
from ase_mlwave.quantum.ao_order import coupling_basis, couplings, irreps_order
from ase_mlwave.quantum.basis import shells

__all__ = ["BlockHead", "block_coefficients", "coupled_basis"]


def coupled_basis(shells_1: Sequence[int], shells_2: Sequence[int]) -> tuple[list[Order], Tensor]:
    """Give the orthogonal change from coupled coefficients to an AO block.

    Parameters
    ----------
    shells_1, shells_2 : sequence of int
        ``l`` of the shells of the two atoms.

    Returns
    -------
    orders : list of (L, parity)
        One per coupled path; its 2L + 1 coefficients stand together.
    matrix : Tensor, (M1 M2, M1, M2)
        float64, orthonormal rows, PySCF's AO order.
    """
    m1, m2 = sum(2 * l + 1 for l in shells_1), sum(2 * l + 1 for l in shells_2)
    orders: list[Order] = []
    rows: list[Tensor] = []
    start_1 = 0
    for l1 in shells_1:
        start_2 = 0
        for l2 in shells_2:
            orders += couplings(l1, l2)
            block = torch.zeros((2 * l1 + 1) * (2 * l2 + 1), m1, m2, dtype=torch.float64)
            block[:, start_1 : start_1 + 2 * l1 + 1, start_2 : start_2 + 2 * l2 + 1] = coupling_basis(l1, l2)
            rows.append(block)
            start_2 += 2 * l2 + 1
        start_1 += 2 * l1 + 1
    matrix = torch.cat(rows)
    back_1 = torch.from_numpy(irreps_order(shells_1)).argsort()
    back_2 = torch.from_numpy(irreps_order(shells_2)).argsort()
    return orders, matrix[:, back_1][:, :, back_2]


def block_coefficients(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Project AO blocks (n, M1, M2) on the coupled basis: (n, M1 M2), by ``matrix`` of :func:`coupled_basis`."""
    return torch.einsum("nab,cab->nc", blocks, matrix.to(blocks.dtype))


class BlockHead(nn.Module):
    """Map features to the blocks of one element (or ordered pair of elements).

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels.
    basis : str
        Basis set.
    number_1, number_2 : int
        Atomic numbers of the block's rows and columns.

    Notes
    -----
    Coefficients are ``shift + scale * (features @ weight)``; ``shift`` (L = 0 of natural parity) and ``scale`` hold
    the statistics of the training data, so weights of order one give elements of the right size.
    Law: ``test_coupled_basis_is_orthogonal``.
    """

    def __init__(self, layout: OrderLayout, features: int, basis: str, number_1: int, number_2: int) -> None:
        super().__init__()
        self.orders, matrix = coupled_basis(shells(basis, number_1), shells(basis, number_2))
        self.shape = (matrix.shape[1], matrix.shape[2])
        self.layout = layout
        self.kinds = [o for o in layout.orders if o in set(self.orders)]
        missing = sorted(set(self.orders) - set(self.kinds))
        if missing:
            raise ValueError(
                f"basis {basis!r} couples to orders (L, parity) {missing}, which max_order={layout.max_order} and "
                f"max_unnatural_order={layout.max_unnatural} leave out; raise them"
            )
        self.weights = nn.ParameterList(
            torch.randn(features, self.orders.count(kind)) * features**-0.5 for kind in self.kinds
        )
        n = matrix.shape[0]
        self.register_buffer("matrix", matrix.reshape(n, n), persistent=False)
        self.register_buffer("source", self._source(), persistent=False)
        self.register_buffer("shift", torch.zeros(n, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(n, dtype=torch.float64))

    def _source(self) -> Tensor:
        """Where each coefficient stands in the joined outputs of all kinds, (C,)."""
        place, start = {}, 0
        for kind in self.kinds:
            paths = [p for p, o in enumerate(self.orders) if o == kind]
            for k, p in enumerate(paths):
                place[p] = [start + m * len(paths) + k for m in range(2 * kind[0] + 1)]
            start += len(paths) * (2 * kind[0] + 1)
        return torch.tensor([index for p in range(len(self.orders)) for index in place[p]])

    def forward(self, x: Tensor, fade: Tensor | None = None) -> Tensor:
        """Predict blocks.

        Parameters
        ----------
        x : Tensor, (n, R, F)
            Features of the atoms or pairs of this kind.
        fade : Tensor, (n,), optional
            Cutoff function of each pair, on which the shift fades.

        Returns
        -------
        Tensor, (n, M1, M2)
            float64, Hartree, PySCF's AO order.
        """
        source: Tensor = self.source  # type: ignore[assignment]
        shift: Tensor = self.shift  # type: ignore[assignment]
        scale: Tensor = self.scale  # type: ignore[assignment]
        matrix: Tensor = self.matrix  # type: ignore[assignment]
        parts = [(x[:, self.layout.rows[k]] @ w).flatten(1) for k, w in zip(self.kinds, self.weights, strict=True)]
        raw = torch.cat(parts, dim=1)[:, source].double() * scale
        coefficients = raw + (shift if fade is None else shift * fade.double()[:, None])
        return (coefficients @ matrix).view(-1, *self.shape)

    def coefficients(self, blocks: Tensor) -> Tensor:
        """Project blocks (n, M1, M2) on what the head gives: (n, M1 M2)."""
        return block_coefficients(blocks, self.matrix.view(-1, *self.shape))  # type: ignore[operator]

    @torch.no_grad()
    def fit_statistics(self, training: Moments, floor: float = 1e-3) -> None:
        """Set shift and scale from the `coefficients` of training blocks, Hartree; scales are at least ``floor``."""
        start = 0
        for l, parity in self.orders:
            part = slice(start, start + 2 * l + 1)
            mean, variance = training.mean[part], training.scatter[part] / training.count
            shift = mean.mean() if (l, parity) == (0, 1) else mean.new_zeros(())
            self.shift[part] = shift  # type: ignore[operator]
            self.scale[part] = (variance + (mean - shift).square()).mean().sqrt().clamp(min=floor)  # type: ignore[operator]
            start += 2 * l + 1
