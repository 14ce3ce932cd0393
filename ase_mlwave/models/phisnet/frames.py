"""Rotation of features into the frame of an edge, where the residual symmetry is O(2) and dense matrices mix orders."""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import islice

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.orders import Order, OrderLayout
from ase_mlwave.quantum.rotations import harmonics, wigner_matrices

__all__ = ["EdgeLayout", "edge_rotations"]


def edge_rotations(directions: Tensor) -> Tensor:
    """Build rotations that carry unit vectors to the polar axis z.

    Parameters
    ----------
    directions : Tensor, (E, 3)
        Unit vectors, x, y, z.

    Returns
    -------
    Tensor, (E, 3, 3)
        Rows: two axes across the edge, and the edge. Differentiable everywhere: the axis across starts from the
        Cartesian axis least along the edge, and results of the network do not depend on that choice.
    """
    axes = torch.eye(3, dtype=directions.dtype, device=directions.device)
    helper = axes.index_select(0, directions.detach().abs().argmin(dim=1))
    x = torch.linalg.cross(helper, directions)
    x = x / x.norm(dim=1, keepdim=True)
    y = torch.linalg.cross(directions, x)
    return torch.stack([x, y, directions], dim=1)


class EdgeLayout:
    """Rows of features in the frame of an edge: each parity apart, sorted by m so that each m is one matrix product.

    Rotations about the edge turn the pair (cos, sin) of each m by m phi; the reflection through a plane that holds
    the edge keeps cos and flips sin in natural parity, and the other way round in unnatural parity. Storing
    (-sin, cos) for unnatural orders makes both behave alike, so any real matrix mixes them: this is all of O(2).
    At m = 0 natural rows are invariants, unnatural ones pseudo-invariants, and the two do not mix.

    Parameters
    ----------
    layout : OrderLayout
        Layout of the features outside the frame.
    """

    def __init__(self, layout: OrderLayout) -> None:
        self.layout = layout
        self.n_invariant = layout.max_order + 1
        self.n_pseudo = layout.max_unnatural
        degrees = range(1, layout.max_order + 1)
        self.natural_of_m = tuple(layout.max_order - m + 1 for m in degrees)
        """Natural orders with a component m, for m = 1 .. max_order."""
        self.unnatural_of_m = tuple(max(0, layout.max_unnatural - m + 1) for m in degrees)
        self.n_of_m = tuple(map(sum, zip(self.natural_of_m, self.unnatural_of_m, strict=True)))

    def _rows(self, *, natural: bool) -> list[tuple[Order, int, int]]:
        """(order, component within it, sign) of every row of one parity: by m, cosines before sines."""
        orders = [o for o in self.layout.orders if self.layout.is_natural(o) == natural]
        rows = [(o, o[0], 1) for o in orders]
        for m in range(1, self.layout.max_order + 1):
            for cosine in (True, False):
                component, sign = m if cosine == natural else -m, -1 if cosine and not natural else 1
                rows += [(o, o[0] + component, sign) for o in orders if o[0] >= m]
        return rows

    @cached_property
    def parts(self) -> tuple[tuple[tuple[Order, int, int], ...], ...]:
        """(order, component within it, sign) of the natural rows in the frame, then of the unnatural ones."""
        return tuple(self._rows(natural=True)), tuple(self._rows(natural=False))

    @cached_property
    def by_m(self) -> Tensor:
        """Places, in natural rows followed by unnatural ones, of all rows sorted by m with both parities of each."""
        places, natural, unnatural = [], iter(range(len(self.parts[0]))), iter(range(len(self.parts[0]), 2**31))
        widths = zip((self.n_invariant, *self.natural_of_m), (self.n_pseudo, *self.unnatural_of_m), strict=True)
        for m, (n_natural, n_unnatural) in enumerate(widths):
            for _ in range(1 if m == 0 else 2):
                places += [*islice(natural, n_natural), *islice(unnatural, n_unnatural)]
        return torch.tensor(places)

    @cached_property
    def rows(self) -> tuple[tuple[Order, int, int], ...]:
        """(order, component within it, sign) of all rows, as sorted by `by_m`."""
        joined = [*self.parts[0], *self.parts[1]]
        return tuple(joined[place] for place in self.by_m.tolist())

    def rotations(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Build the matrices that carry features into the frames of edges, those of each parity.

        Parameters
        ----------
        directions : Tensor, (E, 3)
            Unit vectors along the edges, x, y, z.

        Returns
        -------
        tuple of Tensor, (E, R+, R+) and (E, R-, R-)
            Natural and unnatural, orthogonal; a transpose leads back. Law: ``test_frame_rotations_are_orthogonal``.

        Notes
        -----
        Measured on a CPU (1,300 edges, orders to 4 and 3): dense within each parity takes half the time of one dense
        matrix; blocks of each l take a third, and lose it again in the copies that sort their results by m.
        """
        rotation = edge_rotations(directions).roll((-1, -1), (1, 2))  # (E, 3, 3), y z x as e3nn's order l = 1
        max_order = max(self.layout.max_order, self.layout.max_unnatural)
        flat = torch.cat([d.flatten(1) for d in wigner_matrices(rotation, max_order)], dim=1)
        targets, sources, signs = _entries(self.layout, flat.dtype, flat.device)
        n, sizes = directions.shape[0], [len(rows) for rows in self.parts]
        values = flat.index_select(1, sources) * signs
        joined = flat.new_zeros(n, sum(size**2 for size in sizes)).index_copy(1, targets, values)
        natural, unnatural = joined.split([size**2 for size in sizes], dim=1)
        return natural.view(n, sizes[0], sizes[0]), unnatural.view(n, sizes[1], sizes[1])

    def axial_rotations(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Build the rows of `rotations` that give invariants, m = 0 of natural features, for a fraction of the time.

        Parameters
        ----------
        directions : Tensor, (E, 3)
            As of `rotations`.

        Returns
        -------
        tuple of Tensor, (E, L + 1, R+) and (E, 0, 0)
            Law: ``test_axial_rotations_are_the_first_rows``.
        """
        values = harmonics(directions.roll(-1, 1), self.layout.max_order)  # y z x as e3nn's order l = 1
        mask = _order_masks(self.layout, values.dtype, values.device)
        return values[:, None] * mask, values.new_zeros(len(values), 0, 0)


@lru_cache(maxsize=32)
def _order_masks(layout: OrderLayout, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Tell which natural rows each order has, (L + 1, R+)."""
    with torch.inference_mode(mode=False):  # kept for later calls, which may need gradients
        orders = torch.arange(layout.max_order + 1)
        return (orders[:, None] == layout.order_of_row[: layout.n_natural]).to(dtype=dtype, device=device)


@lru_cache(maxsize=32)
def _entries(layout: OrderLayout, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Give targets in both matrices, flat, sources in the joined Wigner matrices, and signs, where they are needed."""
    starts, start = {}, 0
    for l in range(max(layout.max_order, layout.max_unnatural) + 1):
        starts[l] = start
        start += (2 * l + 1) ** 2
    targets, sources, signs, begin = [], [], [], 0
    for rows in EdgeLayout(layout).parts:
        first = min((layout.rows[order].start for order, _, _ in rows), default=0)
        for order, component, sign in rows:
            width = 2 * order[0] + 1
            for c in range(width):
                targets.append(begin + layout.rows[order].start - first + c)
                sources.append(starts[order[0]] + component * width + c)
                signs.append(sign)
            begin += len(rows)
    with torch.inference_mode(mode=False):  # kept for later calls, which may need gradients
        return (
            torch.tensor(targets, device=device),
            torch.tensor(sources, device=device),
            torch.tensor(signs, device=device, dtype=dtype),
        )
