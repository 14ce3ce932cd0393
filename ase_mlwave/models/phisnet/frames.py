"""Rotation of features into the frame of an edge, where the residual symmetry is O(2) and dense matrices mix orders."""

from __future__ import annotations

from functools import cached_property, lru_cache

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.orders import Order, OrderLayout
from ase_mlwave.quantum.rotations import wigner_matrices

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
    """Rows of features in the frame of an edge, sorted by m so that each m is one contiguous matrix product.

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

    @cached_property
    def n_of_m(self) -> tuple[int, ...]:
        """Orders with a component m, for m = 1 .. max_order."""
        return tuple(sum(1 for l, _ in self.layout.orders if l >= m) for m in range(1, self.layout.max_order + 1))

    @cached_property
    def rows(self) -> tuple[tuple[Order, int, int], ...]:
        """(order, component within it, sign) of every row in the frame: by m, cosines before sines."""
        layout = self.layout
        natural = [o for o in layout.orders if layout.is_natural(o)]
        unnatural = [o for o in layout.orders if not layout.is_natural(o)]
        rows = [(o, o[0], 1) for o in natural] + [(o, o[0], 1) for o in unnatural]
        for m in range(1, layout.max_order + 1):
            for cosine in (True, False):
                for o in (o for o in layout.orders if o[0] >= m):
                    keep = layout.is_natural(o) == cosine
                    sign = -1 if (cosine and not layout.is_natural(o)) else 1
                    rows.append((o, o[0] + (m if keep else -m), sign))
        return tuple(rows)

    def rotation(self, directions: Tensor) -> Tensor:
        """Build the matrices that carry features into the frames of edges.

        Parameters
        ----------
        directions : Tensor, (E, 3)
            Unit vectors along the edges, x, y, z.

        Returns
        -------
        Tensor, (E, R, R)
            Orthogonal; its transpose leads back. Law: ``test_frame_rotation_is_orthogonal``.
        """
        rotation = edge_rotations(directions).roll((-1, -1), (1, 2))  # (E, 3, 3), y z x as e3nn's order l = 1
        max_order = max(self.layout.max_order, self.layout.max_unnatural)
        flat = torch.cat([d.flatten(1) for d in wigner_matrices(rotation, max_order)], dim=1)
        targets, sources, signs = _entries(self.layout, flat.dtype, flat.device)
        n, size = directions.shape[0], self.layout.n_rows
        values = flat.index_select(1, sources) * signs
        return flat.new_zeros(n, size * size).index_copy(1, targets, values).view(n, size, size)


@lru_cache(maxsize=32)
def _entries(layout: OrderLayout, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Give targets in the (R, R) matrix, sources in the joined Wigner matrices, and signs, where they are needed."""
    starts, start = {}, 0
    for l in range(max(layout.max_order, layout.max_unnatural) + 1):
        starts[l] = start
        start += (2 * l + 1) ** 2
    targets, sources, signs = [], [], []
    for r, (order, component, sign) in enumerate(EdgeLayout(layout).rows):
        width = 2 * order[0] + 1
        for c in range(width):
            targets.append(r * layout.n_rows + layout.rows[order].start + c)
            sources.append(starts[order[0]] + component * width + c)
            signs.append(sign)
    with torch.inference_mode(mode=False):  # kept for later calls, which may need gradients
        return (
            torch.tensor(targets, device=device),
            torch.tensor(sources, device=device),
            torch.tensor(signs, device=device, dtype=dtype),
        )
