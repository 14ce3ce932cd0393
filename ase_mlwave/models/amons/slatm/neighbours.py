"""The triangles of atoms, derived from the pairs of a batch, and the spectra that pairs and triangles add to.

As pairs they are discrete and carry no derivatives: they are found once from values of the positions, and serve on the
device of the model as long as a neighbour list does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.amons.slatm.types import TypeTable
from ase_mlwave.systems.batch import SystemBatch, join
from ase_mlwave.systems.neighbours import Pairs
from ase_mlwave.systems.system import System

__all__ = ["SlatmBatch", "join_with_triangles", "n_candidates"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Atoms nearer than this (Bohr) coincide.
_COINCIDENT = 1e-3
#: Candidates for triangles that are tested at once.
_CANDIDATES = 1 << 20


@dataclass(frozen=True, eq=False)
class SlatmBatch(SystemBatch):
    """Molecules and cells with T triangles, in the order of their centres as pairs are.

    Parameters
    ----------
    is_exact : bool
        Whether these are the pairs and triangles within the cutoff, and no others.
    sides : Tensor, (3, T)
        Three pairs: two with the same first atom, the centre, and the one between their ends.
    pair_rows : Tensor, (E,)
        Which spectrum of distances a pair adds to, of those of all atoms by element.
    pair_charges : Tensor, (E,)
        z_1 z_2, float64.
    triangle_rows : Tensor, (T,)
        Which spectrum of angles a triangle adds to, of those of all atoms by pair of elements.
    triangle_charges : Tensor, (T,)
        z_1 z_2 z_3, float64.
    counts : tuple of tuple of int, (Z, B)
        For each element of the table how many atoms of it each system has.
    order, place : Tensor, (N,)
        Atoms by their elements, and where each atom is among those.
    """

    is_exact: bool
    sides: Tensor
    pair_rows: Tensor
    pair_charges: Tensor
    triangle_rows: Tensor
    triangle_charges: Tensor
    counts: tuple[tuple[int, ...], ...]
    order: Tensor
    place: Tensor


def join_with_triangles(
    systems: Sequence[System], pairs: Sequence[Pairs], table: TypeTable, *, is_exact: bool = True
) -> SlatmBatch:
    """Join systems to a batch and find all triangles.

    Parameters
    ----------
    systems : sequence of System, (B,)
        Molecules and cells of the table's elements.
    pairs : sequence of Pairs, (B,)
        All pairs of each that are nearer than some distance.
    table : TypeTable
        Elements, and where their spectra lie.
    is_exact : bool
        Whether that distance is the cutoff.

    Returns
    -------
    SlatmBatch
        On the CPU, with the triangles whose three sides are pairs.

    Raises
    ------
    ValueError
        If there is no system, or atoms coincide.

    Notes
    -----
    Time is linear in the number of atoms. Every image within the cutoff counts (``test_cell_equals_its_supercell``).
    """
    parts, start = [np.empty((3, 0), dtype=np.int64)], 0
    for index, (system, own) in enumerate(zip(systems, pairs, strict=True)):
        _refuse_coincident(index, own, own.vectors(system))
        parts.append(start + _triangles(system, own))
        start += len(own)
    batch, sides = join(systems, pairs), torch.from_numpy(np.concatenate(parts, axis=1))
    elements, charges = torch.from_numpy(table.element_index)[batch.numbers], batch.numbers.double()
    other, other_charges = elements[batch.second], charges[batch.second]
    centres, (first, second, _) = batch.first[sides[0]], sides
    counts = torch.stack([part.bincount(minlength=table.n_elements) for part in batch.split(elements)], dim=1)
    order = elements.argsort(stable=True)
    kinds = torch.from_numpy(table.pair_index)[other[first], other[second]]
    return SlatmBatch(
        **vars(batch),
        is_exact=is_exact,
        sides=sides,
        pair_rows=batch.first * table.n_elements + other,
        pair_charges=charges[batch.first] * other_charges,
        triangle_rows=centres * table.n_pairs + kinds,
        triangle_charges=charges[centres] * other_charges[first] * other_charges[second],
        counts=tuple(map(tuple, counts.tolist())),
        order=order,
        place=order.argsort(),
    )


def n_candidates(pairs: Pairs) -> int:
    """Count the pairs of pairs with one centre, of which triangles are a part."""
    counts = np.bincount(pairs.first) if len(pairs) else np.zeros(1, dtype=np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _refuse_coincident(index: int, pairs: Pairs, vectors: Array) -> None:
    close = np.flatnonzero((vectors**2).sum(1) < _COINCIDENT**2)
    if len(close):
        i, j = sorted((int(pairs.first[close[0]]), int(pairs.second[close[0]])))
        raise ValueError(f"system {index}: atoms {i} and {j} coincide (nearer than {_COINCIDENT} Bohr)")


def _triangles(system: System, pairs: Pairs) -> Index:
    """Find all unordered pairs of pairs with one centre whose ends are a pair, too; (3, T)."""
    centres, keys = pairs.first, _Keys(system, pairs)
    ends = np.cumsum(np.bincount(centres, minlength=len(system)))  # one behind the last pair of every centre
    later = ends[centres] - np.arange(len(centres)) - 1  # pairs of the same centre behind each pair
    parts = [np.empty((3, 0), dtype=np.int64)]
    for start, stop in _portions(later, _CANDIDATES):
        counts = later[start:stop]
        first = np.repeat(np.arange(start, stop), counts)
        begins = np.cumsum(counts) - counts
        second = first + 1 + np.arange(len(first)) - np.repeat(begins, counts)
        third = keys.between(first, second)
        closed = third >= 0
        parts.append(np.stack([first[closed], second[closed], third[closed]]))
    return np.concatenate(parts, axis=1)


class _Keys:
    """Find pairs by one number each: first atom, second atom, and shift, in a lattice into which atoms are wrapped."""

    def __init__(self, system: System, pairs: Pairs) -> None:
        self.pairs, self.n_atoms = pairs, len(system)
        self.shifts: Index | None = None
        if pairs.shifts is not None and system.cell is not None and len(pairs):
            home = np.floor(system.positions @ np.linalg.pinv(system.cell)).astype(np.int64)
            self.shifts = pairs.shifts + home[pairs.second] - home[pairs.first]
            self.low, self.high = self.shifts.min(axis=0), self.shifts.max(axis=0)
        keys = self._of(pairs.first, pairs.second, self.shifts)
        self.order = np.argsort(keys)
        self.keys = keys[self.order]

    def between(self, first: Index, second: Index) -> Index:
        """Return the pairs (T,) between the ends of pairs with one centre; -1 where there is none."""
        shifts = None if self.shifts is None else self.shifts[second] - self.shifts[first]
        wanted = self._of(self.pairs.second[first], self.pairs.second[second], shifts)
        place = np.searchsorted(self.keys, wanted)
        place[place == len(self.keys)] = 0
        found = self.keys[place] == wanted
        if shifts is not None:
            found &= ((shifts >= self.low) & (shifts <= self.high)).all(axis=1)
        return np.where(found, self.order[place], -1)

    def _of(self, first: Index, second: Index, shifts: Index | None) -> Index:
        keys = first * self.n_atoms + second
        for axis in range(0 if shifts is None else 3):
            keys = keys * (self.high - self.low + 1)[axis] + (shifts[:, axis] - self.low[axis])  # type: ignore[index]
        return keys


def _portions(counts: Index, limit: int) -> Iterator[tuple[int, int]]:
    """Divide a list into slices whose counts sum to about ``limit``."""
    portion = np.cumsum(counts) // limit
    edges = (np.flatnonzero(np.diff(portion)) + 1).tolist()
    yield from zip([0, *edges], [*edges, len(counts)], strict=True)
