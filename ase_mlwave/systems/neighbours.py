"""The neighbours of atoms: one search for molecules and cells, and a list that dynamics reuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vesin
from numpy.typing import NDArray

from ase_mlwave.systems.system import System

__all__ = ["NeighbourList", "Pairs", "find_pairs"]

Array = NDArray[np.float64]

#: Relative distance beyond the cutoff that the search includes, so that no rounding but ours decides.
_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Pairs:
    """Hold E directed pairs of atoms, each both ways: by the first atom, then by the second, then by the shift.

    Parameters
    ----------
    first, second : (E,) int64
        Indices of the atoms. In a cell an atom may be its own neighbour.
    shifts : (E, 3) int64 or None
        Cell vectors to add to the second atom; None in a molecule.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    shifts: NDArray[np.int64] | None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.first)

    def vectors(self, system: System) -> Array:
        """Return the vectors from the first atoms to the second ones, (E, 3), Bohr."""
        vectors = np.take(system.positions, self.second, axis=0) - np.take(system.positions, self.first, axis=0)
        if self.shifts is None or system.cell is None:
            return vectors
        return vectors + self.shifts.astype(np.float64) @ system.cell


def find_pairs(system: System, cutoff: float) -> Pairs:
    """Find all pairs of atoms that are nearer than a cutoff, images included.

    Parameters
    ----------
    system : System
        A molecule, or a cell with one to three periods.
    cutoff : float
        Bohr.

    Returns
    -------
    Pairs
        Every pair both ways, in an order that depends on the atoms alone.

    Notes
    -----
    The search is vesin's; time is linear in the number of atoms (``test_pairs_are_those_of_ase``).
    """
    return _Candidates.search(system, cutoff).within(system, cutoff)


class NeighbourList:
    """Find pairs in one structure after the other of a trajectory, and search only where atoms have moved.

    Parameters
    ----------
    cutoff : float
        Bohr.
    skin : float
        Pairs are remembered up to this far beyond the cutoff, Bohr; they serve until an atom has moved by half of it.

    Notes
    -----
    Gives what `find_pairs` gives, pair by pair (``test_a_skin_changes_nothing``). What it remembers is replaced as a
    whole, so that threads may share it.
    """

    def __init__(self, cutoff: float, skin: float = 2.0) -> None:
        self.cutoff = cutoff
        self.skin = skin
        self.n_searches = 0
        self._known: _Candidates | None = None

    def find_pairs(self, system: System) -> Pairs:
        """Find the pairs of a structure as the function `find_pairs` does."""
        known = self._known
        if known is None or not self._serves(known.system, system):
            self.n_searches += 1
            self._known = known = _Candidates.search(system, self.cutoff + self.skin)
        return known.within(system, self.cutoff)

    def _serves(self, old: System, new: System) -> bool:
        """Tell whether pairs of one structure are all that the other can have."""
        held, given = ((one.numbers, *_box(one)) for one in (old, new))
        if not all(map(np.array_equal, held, given)):
            return False
        moved = new.positions - old.positions
        return bool(np.einsum("nd,nd->n", moved, moved).max() < (0.5 * self.skin) ** 2)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The pairs of a structure, and the offsets (3, E) of the images in its cell, by component for speed."""

    system: System
    pairs: Pairs
    offsets: Array | None

    @classmethod
    def search(cls, system: System, cutoff: float) -> _Candidates:
        """Search up to the cutoff, with what rounding may leave beyond it."""
        search = vesin.NeighborList(cutoff=cutoff * (1 + _SLACK), full_list=True, n_threads=1)
        cell, pbc = _box(system)
        found = search.compute(system.positions, cell, pbc, "ijS", copy=False)
        first, second, shifts = (part.astype(np.int64) for part in found)
        order = _order(first, second, shifts, len(system))
        if system.cell is None:
            return cls(system, Pairs(first[order], second[order], None), None)
        shifts = shifts[order]
        offsets = np.ascontiguousarray((shifts.astype(np.float64) @ cell).T)
        return cls(system, Pairs(first[order], second[order], shifts), offsets)

    def within(self, system: System, cutoff: float) -> Pairs:
        """Keep the pairs that are nearer than the cutoff where the atoms are now."""
        squares = np.zeros(len(self.pairs))
        for axis in range(3):
            x = np.ascontiguousarray(system.positions[:, axis])
            along = np.take(x, self.pairs.second, mode="clip")  # all are inside; without a check this is thrice as fast
            along -= np.take(x, self.pairs.first, mode="clip")
            if self.offsets is not None:
                along += self.offsets[axis]
            along *= along
            squares += along
        kept = np.flatnonzero(squares < cutoff**2)
        shifts = None if self.pairs.shifts is None else np.take(self.pairs.shifts, kept, axis=0)
        return Pairs(self.pairs.first[kept], self.pairs.second[kept], shifts)


def _box(system: System) -> tuple[Array, NDArray[np.bool_]]:
    """Return cell vectors and periods, zero and none of a molecule."""
    if system.cell is None or system.pbc is None:
        return np.zeros((3, 3)), np.zeros(3, dtype=bool)
    return system.cell, system.pbc


def _order(
    first: NDArray[np.int64], second: NDArray[np.int64], shifts: NDArray[np.int64], n_atoms: int
) -> NDArray[np.int64]:
    """Sort by one number that holds the first atom, the second, and the shift, its last component first."""
    key = first * n_atoms + second
    if shifts.any():
        low, spans = shifts.min(axis=0), np.ptp(shifts, axis=0) + 1
        for axis in (2, 1, 0):
            key = key * spans[axis] + (shifts[:, axis] - low[axis])
    return np.argsort(key)
