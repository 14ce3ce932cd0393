"""The triangles of atoms, derived from the pairs of a batch.

As pairs they are discrete and carry no derivatives: they are found once from values of the positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.systems.batch import SystemBatch, join, pairs_of
from ase_mlwave.systems.neighbours import NeighbourList, Pairs
from ase_mlwave.systems.system import System

__all__ = ["SlatmBatch", "join_with_triangles"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Atoms nearer than this (Bohr) coincide.
_COINCIDENT = 1e-3
#: Candidates for triangles that are tested at once.
_CANDIDATES = 1 << 20
#: Relative distance beyond the cutoff that lists still include; what it contributes is decided by the cutoff itself.
_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class SlatmBatch(SystemBatch):
    """Molecules and cells with T triangles, in the order of their centres as pairs are.

    Parameters
    ----------
    sides : Tensor, (2, T)
        Two pairs with the same first atom, the centre; the third side, between their ends, is within the cutoff, too.
    """

    sides: Tensor

    def portions(self, n_triangles: int) -> Iterator[tuple[slice, slice, slice]]:
        """Divide atoms, with their pairs and triangles, into runs of about ``n_triangles`` (one atom at least)."""
        n = len(self.numbers)
        # Lists, not arrays: inside of torch.func.jvp a tensor has values but no memory of its own.
        pairs: list[int] = torch.bincount(self.first, minlength=n).cumsum(0).tolist()
        triangles: list[int] = torch.bincount(self.first[self.sides[0]], minlength=n).cumsum(0).tolist()
        weights = np.diff(triangles, prepend=0) + 1  # an atom without triangles costs something, too
        last = (0, 0)
        for start, stop in _portions(weights, n_triangles):
            ends = (pairs[stop - 1], triangles[stop - 1])
            yield slice(start, stop), slice(last[0], ends[0]), slice(last[1], ends[1])
            last = ends


def join_with_triangles(
    systems: Sequence[System], cutoff: float, neighbours: NeighbourList | None = None
) -> SlatmBatch:
    """Join systems to a batch and find all pairs and triangles.

    Parameters
    ----------
    systems : sequence of System, (B,)
        Molecules and cells.
    cutoff : float
        Largest distance, Bohr.
    neighbours : NeighbourList, optional
        As of `ase_mlwave.systems.batch.collate`.

    Returns
    -------
    SlatmBatch
        On the CPU.

    Raises
    ------
    ValueError
        If there is no system, or atoms coincide.

    Notes
    -----
    Time is linear in the number of atoms. Every image within the cutoff counts (``test_cell_equals_its_supercell``).
    """
    reach = cutoff * (1 + _SLACK)
    pairs = pairs_of(systems, reach, neighbours)
    sides, start = [np.empty((2, 0), dtype=np.int64)], 0
    for index, (system, own) in enumerate(zip(systems, pairs, strict=True)):
        vectors = own.vectors(system)
        _refuse_coincident(index, own, vectors)
        sides.append(start + _triangles(own.first, vectors, len(system), reach))
        start += len(own)
    return SlatmBatch(**vars(join(systems, pairs)), sides=torch.from_numpy(np.concatenate(sides, axis=1)))


def _refuse_coincident(index: int, pairs: Pairs, vectors: Array) -> None:
    close = np.flatnonzero((vectors**2).sum(1) < _COINCIDENT**2)
    if len(close):
        i, j = sorted((int(pairs.first[close[0]]), int(pairs.second[close[0]])))
        raise ValueError(f"system {index}: atoms {i} and {j} coincide (nearer than {_COINCIDENT} Bohr)")


def _triangles(centres: Index, vectors: Array, n_atoms: int, reach: float) -> Index:
    """Find all unordered pairs of pairs with one centre whose ends are within reach of each other, (2, T)."""
    ends = np.cumsum(np.bincount(centres, minlength=n_atoms))  # one behind the last pair of every centre
    later = ends[centres] - np.arange(len(centres)) - 1  # pairs of the same centre behind each pair
    first_parts, second_parts = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for start, stop in _portions(later, _CANDIDATES):
        counts = later[start:stop]
        first = np.repeat(np.arange(start, stop), counts)
        begins = np.cumsum(counts) - counts
        second = first + 1 + np.arange(len(first)) - np.repeat(begins, counts)
        near = ((vectors[first] - vectors[second]) ** 2).sum(1) <= reach**2
        first_parts.append(first[near])
        second_parts.append(second[near])
    return np.stack([np.concatenate(first_parts), np.concatenate(second_parts)])


def _portions(counts: Index, limit: int) -> Iterator[tuple[int, int]]:
    """Divide a list into slices whose counts sum to about ``limit``."""
    portion = np.cumsum(counts) // limit
    edges = (np.flatnonzero(np.diff(portion)) + 1).tolist()
    yield from zip([0, *edges], [*edges, len(counts)], strict=True)
