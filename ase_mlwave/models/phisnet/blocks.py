"""From coupled coefficients to matrix blocks: one linear head per element or pair of elements, and assembly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.moments import Moments
from ase_mlwave.models.phisnet.orders import Order, OrderLayout
from ase_mlwave.models.phisnet.packing import PackedModule
from ase_mlwave.quantum.ao_order import coupling_basis, couplings, irreps_order
from ase_mlwave.quantum.basis import shells

__all__ = ["BlockHead", "HeadGroup", "block_coefficients", "block_sources", "coupled_basis"]


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
    """Map features to the blocks of one element (or ordered pair of elements); see `HeadGroup` for the evaluation.

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
    Coefficients are ``shift + scale * (features @ weight)``, times the cutoff function of a pair; ``shift`` (L = 0 of
    natural parity) and ``scale`` hold the statistics of the training data, so weights of order one give elements of
    the right size.
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
        self.n_paths = max(self.orders.count(kind) for kind in self.kinds)
        """Most paths P of one order; the output for orders that have fewer is filled up with zeros."""
        self.register_buffer("matrix", matrix.reshape(n, n), persistent=False)
        self.place = self._place()
        """On the host, where batches are planned."""
        self.register_buffer("shift", torch.zeros(n, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(n, dtype=torch.float64))

    def _place(self) -> Tensor:
        """Where each coefficient stands in rows and paths, (R, P) flat: (C,)."""
        places, used = [], dict.fromkeys(self.kinds, 0)
        for order in self.orders:
            rows = self.layout.rows[order]
            places += [row * self.n_paths + used[order] for row in range(rows.start, rows.stop)]
            used[order] += 1
        return torch.tensor(places)

    def entries(self) -> tuple[Tensor, Tensor]:
        """Where the weights of each order and path begin in all weights, flat, and their stride: (orders, P) each.

        The stride is zero where an order has no such path, and the beginning is that of a zero behind all weights.
        """
        n, features = sum(w.numel() for w in self.weights), self.weights[0].shape[0]
        begins, strides, start = [], [], 0
        for order in self.layout.orders:
            n_paths = self.orders.count(order)
            begins.append([start + p if p < n_paths else n for p in range(self.n_paths)])
            strides.append([n_paths if p < n_paths else 0 for p in range(self.n_paths)])
            start += n_paths * features
        return torch.tensor(begins), torch.tensor(strides)

    def change_of_basis(self) -> Tensor:
        """Change from scaled coefficients, and 1 behind them for the shift, to elements of the block: (C + 1, C)."""
        matrix: Tensor = self.matrix  # type: ignore[assignment]
        scale, shift = self.scale, self.shift
        return torch.cat([scale[:, None] * matrix, (shift @ matrix)[None]])  # type: ignore[index, operator]

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


class HeadGroup(PackedModule):
    """Several heads at once: one matrix product each for the coefficients and for the blocks, the rest together.

    Parameters
    ----------
    heads : sequence of BlockHead
        Heads of one layout.
    """

    def __init__(self, heads: Sequence[BlockHead]) -> None:
        super().__init__()
        self._heads = tuple(heads)  # of which this is not the owner
        self.layout = heads[0].layout
        self._entries: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def packed_from(self) -> tuple[Tensor, ...]:
        """Weights and statistics of all heads."""
        return tuple(w for head in self._heads for w in (*head.weights, head.scale, head.shift))

    def pack(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Give the weights (R, P, F) and the changes of basis (C + 1, C) of every head."""
        flat = [w.flatten() for head in self._heads for w in head.weights]
        flat.append(flat[0].new_zeros(1))
        device = flat[0].device
        if device not in self._entries:
            self._entries[device] = (self._all_entries().to(device), self.layout.order_of_row.to(device))
        entries, order_of_row = self._entries[device]
        packed = torch.cat(flat).index_select(0, entries.flatten()).view(entries.shape)
        by_row = packed.index_select(0, order_of_row)
        weights = by_row.split([head.n_paths for head in self._heads], dim=1)
        return tuple(weights), tuple(head.change_of_basis() for head in self._heads)

    def _all_entries(self) -> Tensor:
        """Where the joined weights, (orders, sum of P, F), stand in all weights, flat."""
        features = self._heads[0].weights[0].shape[0]
        n = sum(w.numel() for head in self._heads for w in head.weights)
        begins, strides, start = [], [], 0
        for head in self._heads:
            begin, stride = head.entries()
            begins.append(torch.where(stride > 0, begin + start, n))
            strides.append(stride)
            start += sum(w.numel() for w in head.weights)
        steps = torch.cat(strides, dim=1)[..., None] * torch.arange(features)
        return torch.cat(begins, dim=1)[..., None] + steps

    def forward(self, features: Sequence[Tensor], fade: Tensor, sources: Tensor) -> Tensor:
        """Predict blocks.

        Parameters
        ----------
        features : sequence of Tensor, (R, n, F)
            What each head acts on.
        fade : Tensor, (sum of n,)
            Cutoff function of pairs, 1 of atoms.
        sources : Tensor
            As of `block_sources`, for these numbers of blocks.

        Returns
        -------
        Tensor
            Elements of all blocks one behind the other, float64, Hartree, PySCF's AO order.
        """
        weights, changes = self.packed()
        factors = fade.split([x.shape[1] for x in features])  # there are fewer coefficients than features
        both = zip(weights, features, factors, strict=True)
        raw = [(torch.bmm(w, x.transpose(1, 2)) * factor).flatten() for w, x, factor in both]
        joined = torch.cat([*raw, fade]).index_select(0, sources).double()
        parts = joined.split([len(change) * x.shape[1] for change, x in zip(changes, features, strict=True)])
        blocks = [
            torch.mm(part.view(len(change), -1).t(), change).flatten()
            for part, change in zip(parts, changes, strict=True)
        ]
        return torch.cat(blocks)


def block_sources(heads: Sequence[BlockHead], counts: Sequence[int]) -> Tensor:
    """Find, on the host, where a group's outputs have the coefficients and cutoff functions of blocks.

    Parameters
    ----------
    heads : sequence of BlockHead
        The heads of the group.
    counts : sequence of int
        Blocks of each head.

    Returns
    -------
    Tensor
        Places, head by head: of the coefficients (C, n), then of the cutoff functions (n,).
    """
    n_rows, parts, first, start = heads[0].layout.n_rows, [], 0, 0
    n_fade = n_rows * sum(head.n_paths * n for head, n in zip(heads, counts, strict=True))
    for head, n in zip(heads, counts, strict=True):
        block = torch.arange(n)
        parts += [(start + head.place[:, None] * n + block).flatten(), n_fade + first + block]
        first, start = first + n, start + n_rows * head.n_paths * n
    return torch.cat(parts)
