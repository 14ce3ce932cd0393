"""The neighbours of atoms: one search for molecules and cells, and a list that dynamics reuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import NDArray

from ase_mlwave.systems.system import System

__all__ = ["Candidates", "NeighbourList", "Pairs", "find_pairs", "near_points"]

Array = NDArray[np.float64]

#: Boxes that vesin allots, with a margin.
_BOXES = 0.9e5
#: Visits to boxes beside periods that take less time than the pairs.
_VISITS = 3e6
#: Molecules of at most so many atoms are not searched: to look at all their pairs takes less time.
_FEW_ATOMS = 24
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
    return Candidates.search(system, cutoff).within(system, cutoff)


def near_points(points: Array, cutoff: float) -> list[tuple[int, int]]:
    """Find pairs i < j of points (N, 3) that are nearer than a cutoff, both in one unit; sorted."""
    if not len(points):
        return []
    pairs = find_pairs(System(np.ones(len(points), dtype=np.int64), points), cutoff)
    once = pairs.first < pairs.second
    return list(zip(pairs.first[once].tolist(), pairs.second[once].tolist(), strict=True))


class NeighbourList:
    """Find pairs in one structure after the other of a trajectory, and search only where atoms have moved.

    Parameters
    ----------
    skin : float
        Pairs are remembered up to this far beyond the cutoff, Bohr; they serve until an atom has moved by half of it.

    Notes
    -----
    Gives what `find_pairs` gives, pair by pair (``test_a_skin_changes_nothing``). What it remembers is of one
    structure, is replaced as a whole, so that threads may share it, and stays behind when it is copied or pickled.
    """

    def __init__(self, skin: float = 2.0) -> None:
        self.skin = skin
        self.n_searches = 0
        self._reach = 0.0
        self._candidates: Candidates | None = None

    def __reduce__(self) -> tuple[type[NeighbourList], tuple[float]]:
        return type(self), (self.skin,)

    def find_pairs(self, system: System, cutoff: float) -> Pairs:
        """Find the pairs of a structure as the function `find_pairs` does."""
        return self.candidates(system, cutoff).within(system, cutoff)

    def candidates(self, system: System, cutoff: float) -> Candidates:
        """Return pairs among which are those of a structure: the same ones until an atom has moved too far."""
        candidates = self._candidates
        if candidates is None or cutoff + 2 * candidates.displacement(system) >= candidates.cutoff:
            self.n_searches += 1
            self._reach = max(self._reach, cutoff)
            self._candidates = candidates = Candidates.search(system, self._reach + self.skin)
        return candidates


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of a structure up to a cutoff and a skin.

    Parameters
    ----------
    system : System
        Where the atoms were.
    cutoff : float
        With the skin, Bohr.
    pairs : Pairs
        All that were nearer.
    offsets : (3, E), or None
        Of images in a cell, Bohr, by component for speed.
    kept : dict
        What models derive from these pairs, and need as long as them: on their device, for example.
    """

    system: System
    cutoff: float
    pairs: Pairs
    offsets: Array | None
    kept: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def search(cls, system: System, cutoff: float) -> Candidates:
        """Search up to the cutoff, with what rounding may leave beyond it; of few atoms give all pairs."""
        if system.cell is None and len(system) <= _FEW_ATOMS:
            return cls(system, np.inf, _all_pairs(len(system)), None)
        import vesin  # loads torch, which labels of molecules do without

        cell, pbc = _box(system)
        positions, vectors, reach = _searchable(system.positions, cell, pbc, cutoff * (1 + _SLACK))
        search = vesin.NeighborList(cutoff=reach, full_list=True, n_threads=1)
        columns = search.compute(positions, vectors, pbc, "ijS", copy=False)
        first, second, shifts = (part.astype(np.int64) for part in columns)
        order = _order(first, second, shifts, len(system))
        if system.cell is None:
            return cls(system, cutoff, Pairs(first[order], second[order], None), None)
        shifts = shifts[order]
        offsets = np.ascontiguousarray((shifts.astype(np.float64) @ cell).T)
        return cls(system, cutoff, Pairs(first[order], second[order], shifts), offsets)

    def displacement(self, system: System) -> float:
        """Return how far an atom has moved at most, Bohr; infinitely far if these are other atoms, or another cell."""
        before, after = ((one.numbers, *_box(one)) for one in (self.system, system))
        if not all(map(np.array_equal, before, after)):
            return np.inf
        displacements = system.positions - self.system.positions
        return float(np.sqrt(np.einsum("nd,nd->n", displacements, displacements).max()))

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
        near = np.flatnonzero(squares < cutoff**2)
        shifts = None if self.pairs.shifts is None else np.take(self.pairs.shifts, near, axis=0)
        return Pairs(self.pairs.first[near], self.pairs.second[near], shifts)


@lru_cache(maxsize=_FEW_ATOMS)
def _all_pairs(n_atoms: int) -> Pairs:
    """List all pairs of different atoms."""
    first, second = np.divmod(np.flatnonzero(~np.eye(n_atoms, dtype=bool)), n_atoms)
    return Pairs(first, second, None)


def _box(system: System) -> tuple[Array, NDArray[np.bool_]]:
    """Return cell vectors and periods, zero and none of a molecule."""
    if system.cell is None or system.pbc is None:
        return np.zeros((3, 3)), np.zeros(3, dtype=bool)
    return system.cell, system.pbc


def _searchable(positions: Array, cell: Array, pbc: NDArray[np.bool_], reach: float) -> tuple[Array, Array, float]:
    """Return positions, cell vectors and a distance, with the same pairs and more, that vesin 0.6 can search.

    Notes
    -----
    It allots 1e5 boxes; where there were more, it scales all three numbers down. A wide sheet that is one box thick has
    none left in the third direction then, and vesin divides by zero (``test_wide_sheets_are_searched``). Beside periods
    it looks through all boxes along the axis of a direction without: the axis is turned upright to the periods, and
    gaps are closed (``test_atoms_may_be_far_apart``).
    """
    if pbc.any() and not pbc.all():
        frame = _upright_frame(cell, pbc)
        positions, cell = _without_gaps(positions @ frame.T, pbc, reach), cell @ frame.T
    while not _is_searchable(positions, cell, pbc, reach):
        positions = _without_gaps(positions, pbc, reach)
        if not _is_searchable(positions, cell, pbc, reach):
            reach *= 1.2
    return positions, cell, reach


def _upright_frame(cell: Array, pbc: NDArray[np.bool_]) -> Array:
    """Return orthonormal axes in rows, of which those without periods are upright to all periods."""
    upright = complete_cell(cell)[~pbc]
    frame = np.empty((3, 3))
    frame[~pbc] = upright
    frame[pbc] = np.linalg.qr(upright.T, mode="complete")[0][:, len(upright) :].T
    return frame


def _is_searchable(positions: Array, cell: Array, pbc: NDArray[np.bool_], reach: float) -> bool:
    """Tell whether boxes are left in each direction after scaling, and those beside periods are not too many."""
    heights = np.maximum(1.01 * (positions.max(axis=0) - positions.min(axis=0)), 1.0)
    if pbc.any():
        heights[pbc] = 1 / np.linalg.norm(np.linalg.inv(complete_cell(cell))[:, pbc], axis=0)
    boxes = np.maximum(np.floor(heights / reach), 1.0)
    n_boxes = float(boxes.prod())
    if pbc.any() and min(n_boxes, _BOXES) * float(boxes[~pbc].prod()) > _VISITS:
        return False
    return n_boxes < _BOXES or float(boxes.min()) ** 3 * _BOXES > 3**3 * n_boxes  # each is cut to a whole number


def _without_gaps(positions: Array, pbc: NDArray[np.bool_], reach: float) -> Array:
    """Close gaps along axes without periods to twice the reach."""
    closed = positions.copy()
    for axis in np.flatnonzero(~pbc):
        order = np.argsort(positions[:, axis])
        gaps = np.diff(positions[order, axis])
        closed[order[1:], axis] -= np.cumsum(np.maximum(gaps - 2 * reach, 0.0))
    return closed


def _order(
    first: NDArray[np.int64], second: NDArray[np.int64], shifts: NDArray[np.int64], n_atoms: int
) -> NDArray[np.int64]:
    """Sort by one number that holds the first atom, the second, and the shift, its last component first."""
    key = first * n_atoms + second
    if shifts.any():
        low, spans = shifts.min(axis=0), np.ptp(shifts, axis=0) + 1
        if n_atoms**2 * float(spans.prod(dtype=np.float64)) > 2.0**62:
            return np.lexsort((*shifts.T, second, first))
        for axis in (2, 1, 0):
            key = key * spans[axis] + (shifts[:, axis] - low[axis])
    return np.argsort(key)
