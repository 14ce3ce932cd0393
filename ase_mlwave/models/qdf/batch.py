"""The pairs of a batch as blocks of points, each with the neighbours that reach them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.qdf.grids import grid_patches
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["Block", "FieldBatch", "with_blocks", "with_patches"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Neighbour lists of one block differ in length by at most this factor, so that little is padded.
_SPREAD = 1.35
#: Neighbours of a patch beyond which a block has fewer patches.
_MANY = 64
#: Bohr^2 beyond the cutoff's square that are searched, so that rounding leaves nothing out.
_SLACK = 1e-9


@dataclass(frozen=True)
class Block:
    """Patches of points around centres that are computed together.

    Parameters
    ----------
    table : Tensor, (C, 2 + K)
        In each row a patch of the grid, the centre, and the atoms that may reach the patch (itself among them); -1 is
        padding.
    numbers : Tensor, (K,)
        Atomic number of the atoms in each column: sums over atoms of an element are sums of columns.
    """

    table: Tensor
    numbers: Tensor

    @property
    def patches(self) -> Tensor:
        """Patches of the grid, (C,)."""
        return self.table[:, 0]

    @property
    def centres(self) -> Tensor:
        """Indices of the atoms whose grid it is, (C,)."""
        return self.table[:, 1]

    @property
    def neighbours(self) -> Tensor:
        """Indices of the atoms that may reach the points, (C, K): padded with the centre."""
        return torch.where(self.present, self.table[:, 2:], self.table[:, 1:2])

    @property
    def present(self) -> Tensor:
        """Which neighbours are no padding, (C, K)."""
        return self.table[:, 2:] >= 0

    def to(self, device: torch.device | str) -> Block:
        """Copy to a device."""
        return Block(self.table.to(device), self.numbers.to(device))


@dataclass(frozen=True, eq=False)
class FieldBatch(SystemBatch):
    """Molecules with their pairs in blocks.

    Parameters
    ----------
    blocks : tuple of Block
        Every patch of every atom is in one of them.
    grid_level : int or None
        Of the grid whose patches these are. None: an atom is one patch, whatever its grid.
    """

    blocks: tuple[Block, ...]
    grid_level: int | None = None


def with_blocks(batch: SystemBatch, pairs_per_block: int = 400) -> FieldBatch:
    """Group the atoms of a batch with about equally many neighbours.

    Parameters
    ----------
    batch : SystemBatch
        Molecules on the CPU; its pairs are up to twice the model's cutoff.
    pairs_per_block : int
        Largest number of centres times neighbours in one block (a block has one centre at least).

    Returns
    -------
    FieldBatch
        On the CPU. Serves grids of all levels, and the molecules in other orientations.
    """
    atoms = np.arange(len(batch.numbers))
    first, second = (np.concatenate([atoms, side.numpy()]) for side in (batch.first, batch.second))
    blocks = _blocks(batch, 1, first, second, pairs_per_block, len(atoms))
    return FieldBatch(**vars(batch), blocks=blocks)


def with_patches(batch: SystemBatch, level: int, cutoff: float, points_per_block: int) -> FieldBatch:
    """Group the patches of the atoms' grids, each with the neighbours that are near enough to reach one of its points.

    Parameters
    ----------
    batch : SystemBatch
        As for `with_blocks`.
    level, cutoff : int and float
        As for `grid_patches`.
    points_per_block : int
        Largest number of points in one block (a block has one patch at least).

    Returns
    -------
    FieldBatch
        On the CPU. Serves the grid of this level, and positions that differ by small displacements only.

    Notes
    -----
    Changes the order of sums, nothing else (``test_patches_change_rounding_only``): what is left out is zero.
    """
    patches = grid_patches(level, cutoff)
    atoms, r = np.arange(len(batch.numbers)), batch.positions.numpy()
    first, second = (np.concatenate([atoms, side.numpy()]) for side in (batch.first, batch.second))
    near = [_reaching(r[second] - r[first], points, cutoff) for points in patches.offsets]
    items = np.concatenate([first[pairs] + len(atoms) * patch for patch, pairs in enumerate(near)])
    n_patches, size = patches.weights.shape
    rows = max(1, points_per_block // size)
    blocks = _blocks(batch, n_patches, items, second[np.concatenate(near)], rows * _MANY, rows)
    return FieldBatch(**vars(batch), blocks=blocks, grid_level=level)


def _reaching(vectors: Array, points: Array, cutoff: float) -> Index:
    """Find the vectors (E, 3) to atoms that are nearer than the cutoff to one of the points (P, 3)."""
    centre = 0.5 * (points.max(axis=0) + points.min(axis=0))
    reach = cutoff + np.linalg.norm(points - centre, axis=1).max()
    near = np.flatnonzero(np.square(vectors - centre).sum(1) < reach**2)
    candidates = vectors[near]
    nearest = (np.square(points).sum(1) - 2 * candidates @ points.T).min(axis=1)
    found: Index = near[nearest + np.square(candidates).sum(1) < cutoff**2 + _SLACK]
    return found


def _blocks(
    batch: SystemBatch, n_patches: int, items: Index, others: Index, pairs_per_block: int, rows: int
) -> tuple[Block, ...]:
    """Make tables of neighbours ``others`` (E,) of items (E,): patches times the number of atoms, plus centres."""
    numbers = batch.numbers.numpy()
    elements, kinds = np.unique(numbers, return_inverse=True)
    order = np.lexsort((kinds[others], items))
    items, others = items[order], others[order]
    counts = np.bincount(items * len(elements) + kinds[others], minlength=n_patches * len(numbers) * len(elements))
    starts = (np.cumsum(counts) - counts).reshape(-1, len(elements))
    counts = counts.reshape(-1, len(elements))  # of each item, by elements
    order = np.lexsort((*counts.T, counts.sum(1)))
    groups = np.split(order, _edges(counts[order].sum(1), pairs_per_block, rows))
    return tuple(_block(group, elements, counts[group], starts[group], others, len(numbers)) for group in groups)


def _edges(widths: Index, pairs_per_block: int, rows: int) -> list[int]:
    """Find where new blocks begin in ascending lengths of lists."""
    edges, begin, values = [], 0, widths.tolist()
    for place, width in enumerate(values):
        n = place - begin + 1
        full = width > _SPREAD * values[begin] + 1 or width * n > pairs_per_block or n > rows
        if place > begin and full:
            edges.append(place)
            begin = place
    return edges


def _block(group: Index, elements: Index, counts: Index, starts: Index, others: Index, n_atoms: int) -> Block:
    """Make a table: patch, centre, neighbours of each element with padding."""
    widths = counts.max(axis=0)
    column = np.repeat(np.arange(len(elements)), widths)
    place = np.arange(len(column)) - np.repeat(np.cumsum(widths) - widths, widths)
    present = place < counts[:, column]
    table = np.full((len(group), 2 + len(column)), -1)
    table[:, 0], table[:, 1] = np.divmod(group, n_atoms)
    table[:, 2:][present] = others[(starts[:, column] + place)[present]]
    return Block(torch.from_numpy(table), torch.from_numpy(elements[column]))
