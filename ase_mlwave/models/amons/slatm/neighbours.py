"""Molecules and cells joined to one batch, with the pairs and triangles of every atom.

Lists are discrete and carry no derivatives: they are made once from values of the positions, and `SlatmBatch.at` puts
other positions (those of a differentiation, or of a small displacement) under the same lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from ase.geometry import complete_cell
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from ase_mlwave.units import BOHR

__all__ = ["Geometry", "SlatmBatch", "collate"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

Geometry: TypeAlias = tuple[Any, Any] | tuple[Any, Any, Any, Any]
"""Atomic numbers (N,) and positions (N, 3) in Bohr; for periodic systems also cell (3, 3) in Bohr and pbc (3,)."""

#: Atoms nearer than this (Bohr) coincide.
_COINCIDENT = 1e-3
#: Candidates for triangles that are tested at once.
_CANDIDATES = 1 << 20
#: Relative distance beyond the cutoff that lists still include; what it contributes is decided by the cutoff itself.
_SLACK = 1e-9


@dataclass(frozen=True)
class SlatmBatch:
    """B systems as flat tensors, with E directed pairs and T triangles, both in the order of their centres.

    Parameters
    ----------
    numbers : Tensor, (N,)
        Atomic numbers, int64.
    positions : Tensor, (N, 3)
        Bohr, float64.
    system : Tensor, (N,)
        Index of the system of every atom.
    n_atoms : tuple of int, (B,)
        Atoms of each system.
    cells : Tensor, (B, 3, 3)
        Bohr; rows are cell vectors; zero for molecules.
    centres, neighbours : Tensor, (E,)
        Atoms of a pair.
    shifts : Tensor or None, (E, 3)
        Cell vectors to add to the neighbour, float64; None if no system is periodic.
    first, second : Tensor, (T,)
        Pairs with the same centre that are two sides of a triangle; its third side is within the cutoff, too.
    """

    numbers: Tensor
    positions: Tensor
    system: Tensor
    n_atoms: tuple[int, ...]
    cells: Tensor
    centres: Tensor
    neighbours: Tensor
    shifts: Tensor | None
    first: Tensor
    second: Tensor

    def to(self, device: torch.device | str) -> SlatmBatch:
        """Copy all tensors to a device."""
        return SlatmBatch(
            numbers=self.numbers.to(device),
            positions=self.positions.to(device),
            system=self.system.to(device),
            n_atoms=self.n_atoms,
            cells=self.cells.to(device),
            centres=self.centres.to(device),
            neighbours=self.neighbours.to(device),
            shifts=None if self.shifts is None else self.shifts.to(device),
            first=self.first.to(device),
            second=self.second.to(device),
        )

    def at(self, positions: Tensor, cells: Tensor | None = None) -> SlatmBatch:
        """Replace positions (N, 3) and perhaps cells (B, 3, 3), Bohr, and keep the lists: for derivatives."""
        return replace(self, positions=positions, cells=self.cells if cells is None else cells)

    def portions(self, n_triangles: int) -> Iterator[tuple[slice, slice, slice]]:
        """Divide atoms, with their pairs and triangles, into runs of about ``n_triangles`` (one atom at least)."""
        n = len(self.numbers)
        # Lists, not arrays: inside of torch.func.jvp a tensor has values but no memory of its own.
        pairs: list[int] = torch.bincount(self.centres, minlength=n).cumsum(0).tolist()
        triangles: list[int] = torch.bincount(self.centres[self.first], minlength=n).cumsum(0).tolist()
        weights = np.diff(triangles, prepend=0) + 1  # an atom without triangles costs something, too
        last = (0, 0)
        for start, stop in _portions(weights, n_triangles):
            ends = (pairs[stop - 1], triangles[stop - 1])
            yield slice(start, stop), slice(last[0], ends[0]), slice(last[1], ends[1])
            last = ends

    def vectors(self) -> Tensor:
        """Give the vectors (E, 3) from centres to neighbours in Angstrom, differentiable in positions and cells.

        Notes
        -----
        The one place where Bohr become the Angstrom of the grids.
        """
        difference = self.positions[self.neighbours] - self.positions[self.centres]
        if self.shifts is not None:
            cells = self.cells[self.system[self.centres]]
            difference = difference + (self.shifts[:, :, None] * cells).sum(1)
        return difference * BOHR


def collate(geometries: Sequence[Geometry], cutoff: float) -> SlatmBatch:
    """Join systems to a batch and find all pairs and triangles.

    Parameters
    ----------
    geometries : sequence of Geometry
        (numbers, positions) or (numbers, positions, cell, pbc), arrays or CPU tensors.
    cutoff : float
        Largest distance, Bohr.

    Returns
    -------
    SlatmBatch
        On the CPU.

    Raises
    ------
    ValueError
        If shapes do not fit, numbers are not finite, atoms coincide, or a periodic direction has no cell vector.

    Notes
    -----
    Pairs come from one tree over all molecules, those of a periodic system from ASE: time is linear in the number of
    atoms. Every image within the cutoff counts (``test_cell_equals_its_supercell``).
    """
    if not geometries:
        raise ValueError("there is no system: give at least one (numbers, positions)")
    checked = [_check(index, *geometry) for index, geometry in enumerate(geometries)]
    n_atoms = tuple(len(one[0]) for one in checked)
    system = np.repeat(np.arange(len(checked)), n_atoms)
    positions = np.concatenate([one[1] for one in checked])
    cells = np.stack([one[2] for one in checked])
    periodic = np.array([one[3].any() for one in checked])
    reach = cutoff * (1 + _SLACK)
    centres, neighbours, shifts = _molecular_pairs(positions, system, ~periodic[system], reach)
    if periodic.any():
        centres, neighbours, shifts = _with_periodic_pairs(checked, n_atoms, reach, (centres, neighbours, shifts))
    order = np.lexsort((*shifts.T, neighbours, centres))
    centres, neighbours, shifts = centres[order], neighbours[order], shifts[order]
    vectors = positions[neighbours] - positions[centres] + (shifts[:, :, None] * cells[system[centres]]).sum(1)
    _refuse_coincident(vectors, centres, neighbours, system, n_atoms)
    first, second = _triangles(centres, vectors, len(system), reach)
    return SlatmBatch(
        numbers=torch.from_numpy(np.concatenate([one[0] for one in checked])),
        positions=torch.from_numpy(positions),
        system=torch.from_numpy(system),
        n_atoms=n_atoms,
        cells=torch.from_numpy(cells),
        centres=torch.from_numpy(centres),
        neighbours=torch.from_numpy(neighbours),
        shifts=torch.from_numpy(shifts) if periodic.any() else None,
        first=torch.from_numpy(first),
        second=torch.from_numpy(second),
    )


def _check(
    index: int, numbers: Any, positions: Any, cell: Any = None, pbc: Any = None
) -> tuple[Index, Array, Array, NDArray[np.bool_]]:
    """Return copies of one system's arrays; zeros for the cell vectors of directions that are not periodic."""
    z, r = np.array(numbers, dtype=np.int64), np.array(positions, dtype=np.float64)
    if z.ndim != 1 or len(z) == 0 or r.shape != (len(z), 3):
        raise ValueError(f"system {index}: expected numbers (N,) and positions (N, 3), got {z.shape} and {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError(f"system {index}: positions of atoms {np.flatnonzero(~np.isfinite(r).all(1))} are not finite")
    directions = np.broadcast_to(np.array(False if pbc is None else pbc, dtype=bool), 3)
    if not directions.any():
        return z, r, np.zeros((3, 3)), directions
    vectors = np.array(np.zeros((3, 3)) if cell is None else cell, dtype=np.float64)
    if vectors.shape != (3, 3) or not np.isfinite(vectors).all():
        raise ValueError(
            f"system {index}: the cell must be three finite vectors, the rows (3, 3); got {vectors.tolist()}"
        )
    vectors = np.where(directions[:, None], vectors, 0.0)
    if np.linalg.matrix_rank(vectors[directions]) < directions.sum():
        raise ValueError(
            f"system {index}: periodic directions {directions.tolist()} need as many independent cell vectors, "
            f"got the cell {vectors.tolist()}"
        )
    return z, r, vectors, directions


def _molecular_pairs(
    positions: Array, system: Index, chosen: NDArray[np.bool_], reach: float
) -> tuple[Index, Index, Array]:
    """Find directed pairs in the same system among chosen atoms; shifts are zero."""
    atoms = np.flatnonzero(chosen)
    pairs = np.empty((0, 2), dtype=np.int64)
    if len(atoms) > 1:
        # Systems lie apart along a fourth axis, so that one tree serves all of them.
        apart = 2 * reach * system[atoms, None]
        found = cKDTree(np.hstack([positions[atoms], apart])).query_pairs(reach, output_type="ndarray")
        pairs = atoms[found]
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return both[:, 0], both[:, 1], np.zeros((len(both), 3))


def _with_periodic_pairs(
    systems: Sequence[tuple[Index, Array, Array, NDArray[np.bool_]]],
    n_atoms: Sequence[int],
    reach: float,
    molecular: tuple[Index, Index, Array],
) -> tuple[Index, Index, Array]:
    """Append the pairs of periodic systems, images included."""
    parts = [molecular]
    offsets = np.cumsum(n_atoms) - n_atoms
    for offset, (_, positions, cell, pbc) in zip(offsets, systems, strict=True):
        if pbc.any():
            i, j, shifts = primitive_neighbor_list("ijS", pbc, complete_cell(cell), positions, reach)
            parts.append((i + offset, j + offset, shifts.astype(np.float64)))
    centres, neighbours, shifts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return centres, neighbours, shifts


def _refuse_coincident(
    vectors: Array, centres: Index, neighbours: Index, system: Index, n_atoms: Sequence[int]
) -> None:
    close = np.flatnonzero((vectors**2).sum(1) < _COINCIDENT**2)
    if len(close):
        one = close[0]
        owner = system[centres[one]]
        start = sum(n_atoms[:owner])
        pair = sorted((int(centres[one] - start), int(neighbours[one] - start)))
        raise ValueError(f"system {owner}: atoms {pair[0]} and {pair[1]} coincide (nearer than {_COINCIDENT} Bohr)")


def _triangles(centres: Index, vectors: Array, n_atoms: int, reach: float) -> tuple[Index, Index]:
    """Find all unordered pairs of pairs with one centre whose ends are within reach of each other."""
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
    return np.concatenate(first_parts), np.concatenate(second_parts)


def _portions(counts: Index, limit: int) -> Iterator[tuple[int, int]]:
    """Divide a list into slices whose counts sum to about ``limit``."""
    portion = np.cumsum(counts) // limit
    edges = (np.flatnonzero(np.diff(portion)) + 1).tolist()
    yield from zip([0, *edges], [*edges, len(counts)], strict=True)
