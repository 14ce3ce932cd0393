"""The published field: a cubic grid inside a sphere around every atom, and atomic orbitals on its points.

A molecule's points are handled in blocks: some centres with their points, and the atoms whose orbitals reach them. A
small molecule is one dense block; a large one is cut into compact groups of centres, each with its neighbours only, so
that time and memory grow linearly with the number of atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.systems.neighbours import find_pairs
from ase_mlwave.systems.system import System

__all__ = ["Block", "OrbitalTable", "cut_into_blocks", "external_potential", "grid_sphere", "squared_distances"]

Index = NDArray[np.int64]

#: A molecule of at most so many atoms is one block.
ATOMS_IN_ONE_BLOCK = 32
#: Centres of a block of a larger molecule.
CENTRES_PER_BLOCK = 16
#: Orbitals are left out of a block where they are below this on all of its points (they are of order 1 at an atom).
NEGLIGIBLE = 1e-12
#: A point nearer than this to an atom (Angstrom, squared) lies on it and feels nothing of it, as published.
_COINCIDENT = 1e-14
_FAR = 1e12


@dataclass(frozen=True)
class OrbitalTable:
    """Hold the orbital types of every element as tables that atomic numbers index.

    Parameters
    ----------
    first, second : (Z_max + 1, K)
        Rows of the model's parameters with principal quantum number q = 1 and q = 2; -1 where an element has fewer.
    """

    first: Index
    second: Index

    def of(self, numbers: Index) -> tuple[Index, Index, int]:
        """List the orbitals of atoms.

        Parameters
        ----------
        numbers : (N,)
            Atomic numbers.

        Returns
        -------
        types : (M,)
            Row of each orbital; those with q = 1 come first.
        atoms : (M,)
            Its atom.
        n_first : int
            How many have q = 1.
        """
        rows = [table[numbers] for table in (self.first, self.second)]
        types = [row[row >= 0] for row in rows]
        atoms = [np.nonzero(row >= 0)[0] for row in rows]
        return np.concatenate(types), np.concatenate(atoms), len(types[0])


@dataclass(frozen=True)
class Block:
    """Hold a group of centres and what reaches their points."""

    centres: Tensor
    """Indices of the atoms whose points these are, (I,)."""
    atoms: Tensor
    """Indices of the atoms whose orbitals reach them, (J,)."""
    members: Tensor
    """Indices of these orbitals, (M_J,)."""
    rows: Tensor
    """Place of their atoms in ``atoms``, (M_J,)."""
    n_first: int
    """How many of them have q = 1; they come first."""

    @classmethod
    def of(cls, centres: Index, atoms: Index, owners: Index, n_first: int, device: torch.device) -> Block:
        """Find the orbitals of a group's atoms among all; ``owners`` are the atoms of these, (M,)."""
        place = np.full(max(owners.max(), atoms.max()) + 1, -1)
        place[atoms] = np.arange(len(atoms))
        members = np.flatnonzero(place[owners] >= 0)
        tables = (centres, atoms, members, place[owners[members]])
        centre, near, member, row = (torch.as_tensor(table, device=device) for table in tables)
        return cls(centre, near, member, row, int(np.count_nonzero(members < n_first)))


def grid_sphere(radius: float, interval: float) -> Tensor:
    """Return the points around an atom at the origin.

    Parameters
    ----------
    radius, interval : float
        Radius of the sphere, and distance of neighbouring points, Angstrom.

    Returns
    -------
    Tensor, (P, 3)
        Angstrom, float64: points of the cubic grid that starts at the corner (-radius, -radius, -radius), as far as
        they are inside the sphere; the origin itself is left out.

    Raises
    ------
    ValueError
        If there is no such point.

    Notes
    -----
    56 points at the published 0.75 and 0.3 Angstrom (``test_the_published_sphere_has_56_points``). The grid is not
    symmetric about the atom unless the interval divides the radius (or the diameter).
    """
    axis = np.arange(-radius, radius + 1e-3, interval)  # to the last bit as published: it decides about the surface
    inside = [p for p in product(axis, repeat=3) if 0 < p[0] ** 2 + p[1] ** 2 + p[2] ** 2 <= radius**2]
    if not inside:
        raise ValueError(f"a sphere of {radius} Angstrom holds no point of a grid of {interval} Angstrom")
    return torch.tensor(inside, dtype=torch.float64)


def cut_into_blocks(system: System, reach: float) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cut a molecule into compact groups of centres with their neighbours.

    Parameters
    ----------
    system : System
        A molecule.
    reach : float
        Distance between a centre and an atom beyond which that atom's orbitals vanish on the centre's points, Bohr; may
        be infinite.

    Returns
    -------
    list of (ndarray, ndarray)
        Centres and neighbours of every block; each atom is a centre of exactly one.
    """
    everything = np.arange(len(system))
    if len(system) <= ATOMS_IN_ONE_BLOCK:
        return [(everything, everything)]
    groups = _halved(everything, system.positions)
    if np.isinf(reach):
        return [(centres, everything) for centres in groups]
    pairs = find_pairs(system, reach)
    ends = np.searchsorted(pairs.first, np.arange(len(system) + 1))
    near = [pairs.second[begin:end] for begin, end in pairwise(ends)]
    return [(centres, np.unique(np.concatenate([centres, *(near[atom] for atom in centres)]))) for centres in groups]


def _halved(atoms: NDArray[np.int64], positions: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Halve a group along its longest extent until it is small enough."""
    if len(atoms) <= CENTRES_PER_BLOCK:
        return [atoms]
    axis = int(np.ptp(positions[atoms], axis=0).argmax())
    order = atoms[np.argsort(positions[atoms, axis], kind="stable")]
    half = len(order) // 2
    return [group for part in (order[:half], order[half:]) for group in _halved(part, positions)]


def squared_distances(sphere: Tensor, centres: Tensor, atoms: Tensor) -> Tensor:
    """Compute the squared distances between points and atoms.

    Parameters
    ----------
    sphere : Tensor, (P, 3)
        Points around an atom at the origin, Angstrom.
    centres, atoms : Tensor, (I, 3) and (J, 3)
        Positions, Angstrom.

    Returns
    -------
    Tensor, (J, I * P)
        Square Angstrom; a point on an atom counts as infinitely far from it, as published.
    """
    apart = centres[None, :, :] - atoms[:, None, :]  # (J, I, 3)
    cross = apart.reshape(-1, 3) @ (2.0 * sphere.T)  # (J * I, P)
    squared = cross + (apart * apart).sum(dim=-1).reshape(-1, 1) + (sphere * sphere).sum(dim=1)
    return squared.masked_fill(squared < _COINCIDENT, _FAR).reshape(len(atoms), -1)


def external_potential(squared: Tensor, numbers: Tensor) -> Tensor:
    """Compute the potential that the Hohenberg-Kohn map is fitted to.

    Parameters
    ----------
    squared : Tensor, (N, G)
        Squared distances between all atoms and all points, square Angstrom.
    numbers : Tensor, (N,)
        Atomic numbers Z.

    Returns
    -------
    Tensor, (G,)
        V(r) = -sum_A Z_A exp(-|r - R_A|^2), dimensionless.
    """
    return -(numbers.to(squared.dtype) @ torch.exp(-squared))
