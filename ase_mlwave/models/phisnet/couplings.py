"""Clebsch-Gordan coupling of features, channel by channel: which paths there are, and their evaluation in groups."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ase_mlwave.models.phisnet.orders import Order, OrderLayout

__all__ = ["ChannelCoupling", "Path", "couples_to", "coupling_tensor"]

#: Columns (atoms or pairs times channels) that are coupled at once, so that intermediate results stay in the cache.
_CHUNK = 2048

Path = tuple[Order, Order, Order]
"""Two orders and the one that they couple to."""


@lru_cache(maxsize=512)
def coupling_tensor(l1: int, l2: int, l3: int) -> Tensor:
    """Give the Clebsch-Gordan coefficients of real harmonics, (2 l1 + 1, 2 l2 + 1, 2 l3 + 1), float64.

    Notes
    -----
    Features of unit variance couple to components of unit variance: the squares for each component of ``l3`` sum to 1.
    """
    with torch.inference_mode(mode=False):  # kept for later calls, which may need gradients
        tensor: Tensor = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * (2 * l3 + 1) ** 0.5
    return tensor


def couples_to(first: Order, second: Order, layout: OrderLayout) -> list[Order]:
    """List the orders of a layout to which two orders couple: the triangle rule, and the product of parities."""
    lowest, highest = abs(first[0] - second[0]), first[0] + second[0]
    return [o for o in layout.orders if lowest <= o[0] <= highest and o[1] == first[1] * second[1]]


@lru_cache(maxsize=512)
def _stacked(l1: int, l2: int, lowest: int, highest: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Couple to all orders from ``lowest`` to ``highest`` at once: (sum of 2L + 1, (2 l1 + 1)(2 l2 + 1))."""
    with torch.inference_mode(mode=False):
        tensors = [coupling_tensor(l1, l2, l3).permute(2, 0, 1).flatten(1) for l3 in range(lowest, highest + 1)]
        return torch.cat(tensors).to(dtype=dtype, device=device)


class ChannelCoupling(nn.Module):
    """Couple two sets of features in all ways, channel by channel.

    Orders of equal l and both parities are coupled together: one outer product and one matrix product per (l1, l2).

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    distinct : bool
        Leave out couplings of an order with itself, and count each pair of orders once (features with themselves);
        otherwise couple every order of the first set with every order of the second.

    Notes
    -----
    Law: ``test_channel_coupling_equals_single_paths``. Source: Unke et al. 2021, self-mixing and pair-mixing.
    """

    by_degree: Tensor
    path_of_row: Tensor
    target: Tensor

    def __init__(self, layout: OrderLayout, *, distinct: bool) -> None:
        super().__init__()
        self.distinct = distinct
        self.n_rows = layout.n_rows
        self.orders_of_l = [[o for o in layout.orders if o[0] == l] for l in range(layout.max_order + 1)]
        degrees = range(layout.max_order + 1)
        self.groups = [
            (l1, l2, abs(l1 - l2), min(l1 + l2, layout.max_order))
            for l1, l2 in product(degrees, degrees)
            if not distinct or l1 < l2 or (l1 == l2 and len(self.orders_of_l[l1]) == 2)
        ]
        self.paths: list[Path] = []
        """All couplings, in the order of their weights."""
        by_degree = [layout.rows[o].start + m for os in self.orders_of_l for m in range(2 * os[0][0] + 1) for o in os]
        self.register_buffer("by_degree", torch.tensor(by_degree), persistent=False)
        numbers: list[int] = []
        targets: list[int] = []
        for group in self.groups:
            self._add_group(group, layout, numbers, targets)
        self.register_buffer("path_of_row", torch.tensor(numbers), persistent=False)
        self.register_buffer("target", torch.tensor(targets), persistent=False)

    def _add_group(
        self, group: tuple[int, int, int, int], layout: OrderLayout, numbers: list[int], targets: list[int]
    ) -> None:
        """Say for each row of a group's result which path it is and to which row of the features it goes."""
        l1, l2, lowest, highest = group
        first, second = self._members(l1, l2)
        for l3 in range(lowest, highest + 1):
            ends = [[o for o in couples_to(a, b, layout) if o[0] == l3] for a, b in product(first, second)]
            places = []
            for (a, b), end in zip(product(first, second), ends, strict=True):
                places.append(len(self.paths) if end else 0)  # what leads nowhere goes to a row that is dropped
                self.paths += [(a, b, o) for o in end]
            for m in range(2 * l3 + 1):
                numbers += places
                targets += [layout.rows[end[0]].start + m if end else layout.n_rows for end in ends]

    def _members(self, l1: int, l2: int) -> tuple[list[Order], list[Order]]:
        first, second = self.orders_of_l[l1], self.orders_of_l[l2]
        return (first[:1], second[1:]) if self.distinct and l1 == l2 else (first, second)

    @property
    def n_incoming(self) -> dict[Order, int]:
        """Number of paths that end at each order."""
        ends = [end for _, _, end in self.paths]
        return {order: ends.count(order) for order in ends}

    def forward(self, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """Couple and add up.

        Parameters
        ----------
        x, y : Tensor, (R, n, F)
            Features, rows first.
        weights : Tensor, (paths, F) or (paths, n, F)
            Of each path and channel, the same for all or one for each of the n.

        Returns
        -------
        Tensor, (R, n, F)
        """
        if x.shape[1] == 0:
            return torch.zeros_like(x)
        chunk = max(1, _CHUNK // x.shape[2])
        if x.shape[1] <= chunk:
            return self._forward(x, y, weights)
        parts = []
        for start in range(0, x.shape[1], chunk):
            some = slice(start, start + chunk)
            part = x[:, some]
            of_part = weights if weights.dim() == 2 else weights[:, some]
            arguments = (part, part if y is x else y[:, some], of_part)
            # Intermediate results are ten times larger than the features: the backward pass computes them again.
            parts.append(checkpoint(self._forward, *arguments, use_reentrant=False, preserve_rng_state=False))
        return torch.cat(parts, dim=1)

    def _forward(self, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        first = self._split(x)
        second = first if y is x else self._split(y)
        path_of_row, target = self.path_of_row, self.target
        coupled = torch.cat([self._couple(group, first, second) for group in self.groups]).view(-1, *x.shape[1:])
        weights = weights.index_select(0, path_of_row)
        weighted = coupled * (weights[:, None] if weights.dim() == 2 else weights)
        return x.new_zeros(self.n_rows + 1, *x.shape[1:]).index_add(0, target, weighted)[:-1]

    def _split(self, x: Tensor) -> list[Tensor]:
        """Group rows (R, n, F) by l: (2l + 1, parities, n F) each."""
        by_degree = self.by_degree
        sizes = [(2 * l + 1) * len(os) for l, os in enumerate(self.orders_of_l)]
        parts = x.index_select(0, by_degree).flatten(1).split(sizes)
        return [part.view(2 * l + 1, len(self.orders_of_l[l]), -1) for l, part in enumerate(parts)]

    def _couple(self, group: tuple[int, int, int, int], first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Couple two degrees to all allowed ones: (rows, n F)."""
        l1, l2, lowest, highest = group
        a, b = first[l1], second[l2]
        if self.distinct and l1 == l2:
            a, b = a[:, :1], b[:, 1:]
        # Expanded one axis at a time: the gradient then sums over one axis at a time, which is 20 times faster.
        a = a[:, None].expand(-1, b.shape[0], -1, -1)[:, :, :, None].expand(-1, -1, -1, b.shape[1], -1)
        b = b[:, None].expand(-1, a.shape[2], -1, -1)[None].expand(a.shape[0], -1, -1, -1, -1)
        outer = a * b  # (2 l1 + 1, 2 l2 + 1, parities, parities, n F)
        matrix = _stacked(l1, l2, lowest, highest, a.dtype, a.device)
        return (matrix @ outer.flatten(0, 1).flatten(1)).view(-1, a.shape[-1])
