"""Describe the surroundings of atoms by numbers that do not change under rotation, reflection and permutation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ase_mlwave.systems.neighbours import find_pairs
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["BONDED", "describe", "n_features"]

Array = NDArray[np.float64]

#: Distances that the radial functions look at, Bohr, evenly spaced in ln r; the last is beyond hydrogen bonds.
_RADII: Array = np.geomspace(1.4, 11.0, 14)
#: Their width in ln r: one step.
_WIDTH = float(np.log(_RADII[1] / _RADII[0]))
#: Reach of the radial and of the angular functions, Bohr.
_REACH, _ANGULAR_REACH = 12.0, 6.0
#: Cosines that the angular functions look at, and their width.
_COSINES: Array = np.linspace(-1.0, 1.0, 5)
_COSINE_WIDTH = 0.35
#: What an angle counts beside a distance, and what an atom of another molecule counts.
_ANGULAR_WEIGHT, _STRANGER_WEIGHT = 0.5, 4.0
#: What an atom counts that is nearer than this times the sum of covalent radii, where it would be at no distance.
_SQUEEZED_WEIGHT, _SQUEEZED = 8.0, 0.75
#: Atoms nearer than this times the sum of their covalent radii belong to one molecule.
BONDED = 1.3


def n_features(n_elements: int) -> int:
    """Count the features of an atom for a number of elements."""
    return n_elements * (len(_RADII) + 2) + n_elements * (n_elements + 1) // 2 * len(_COSINES)


def describe(system: System, elements: Sequence[int]) -> Array:
    """Describe the surroundings of every atom of a molecule.

    Parameters
    ----------
    system : System
        A molecule, of elements all among ``elements``.
    elements : sequence of int
        Atomic numbers of the model's elements, in order.

    Returns
    -------
    ndarray, (N, D)
        Dimensionless. For each element sums of Gaussians in ln r over its atoms, the nearer the heavier, the number of
        its atoms in other molecules, fading with the distance, and how much nearer than bonds its atoms are; for each
        pair of elements sums of Gaussians in the cosine of the angle at the atom, over pairs of its near neighbours.

    Notes
    -----
    Continuous in the positions but where a bond breaks; zero for an isolated atom
    (``test_surroundings_of_an_isolated_atom_are_empty``); exact under rotation, reflection and permutation
    (``test_surroundings_turn_with_the_molecule``). Time and memory are linear in the number of atoms.
    """
    numbers, kind = system.numbers, np.searchsorted(elements, system.numbers)
    count = len(elements)
    radial = np.zeros((len(numbers), count, len(_RADII)))
    pairs = find_pairs(system, _REACH)
    first, second, vectors = pairs.first, pairs.second, pairs.vectors(system)
    r = np.linalg.norm(vectors, axis=1)
    steps = (np.log(np.maximum(r, 1e-3))[:, None] - np.log(_RADII)) / _WIDTH
    fade = _smooth(r / _REACH)[:, None] * (_RADII[0] / _RADII)
    np.add.at(radial, (first, kind[second]), np.exp(-0.5 * steps**2) * fade)
    strangers = np.zeros((len(numbers), count))
    molecule = _molecules(numbers, first, second, r)
    apart = molecule[first] != molecule[second]
    np.add.at(strangers, (first[apart], kind[second[apart]]), _STRANGER_WEIGHT * _smooth(r[apart] / _REACH))
    angular = _angles(len(numbers), first, kind[second], vectors, r, count)
    squeezed = np.zeros((len(numbers), count))
    radii = _SQUEEZED * covalent_radii[numbers] / BOHR
    np.add.at(squeezed, (first, kind[second]), _SQUEEZED_WEIGHT * np.maximum(0, 1 - r / (radii[first] + radii[second])))
    return np.concatenate([radial.reshape(len(numbers), -1), strangers, squeezed, angular], axis=1)


def _molecules(
    numbers: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64], r: Array
) -> NDArray[np.int32]:
    """Find the molecule that every atom belongs to, by the distances of bonds."""
    radii = covalent_radii[numbers] / BOHR
    bonded = r < BONDED * (radii[first] + radii[second])
    links = (np.ones(int(bonded.sum()), dtype=np.int8), (first[bonded], second[bonded]))
    labels: NDArray[np.int32] = connected_components(coo_matrix(links, shape=(len(numbers),) * 2), directed=False)[1]
    return labels


def _angles(
    n_atoms: int, first: NDArray[np.int64], kind: NDArray[np.int64], vectors: Array, r: Array, n_kinds: int
) -> Array:
    """Sum Gaussians of cosines over pairs of near neighbours, by pairs of their elements."""
    table = np.zeros((n_kinds, n_kinds), dtype=np.int64)
    for index, (a, b) in enumerate(combinations_with_replacement(range(n_kinds), 2)):
        table[a, b] = table[b, a] = index
    sums = np.zeros((n_atoms, int(table.max()) + 1, len(_COSINES)))
    near = np.flatnonzero(r < _ANGULAR_REACH)
    starts = np.searchsorted(first[near], np.arange(n_atoms + 1))
    for atom in range(n_atoms):
        neighbours = near[starts[atom] : starts[atom + 1]]
        i, j = np.triu_indices(len(neighbours), k=1)
        unit = vectors[neighbours] / r[neighbours, None]
        weight = _smooth(r[neighbours] / _ANGULAR_REACH)
        cosines = np.einsum("pd,pd->p", unit[i], unit[j])
        values = np.exp(-0.5 * ((cosines[:, None] - _COSINES) / _COSINE_WIDTH) ** 2)
        values *= (_ANGULAR_WEIGHT * weight[i] * weight[j])[:, None]
        np.add.at(sums[atom], table[kind[neighbours][i], kind[neighbours][j]], values)
    return sums.reshape(n_atoms, -1)


def _smooth(x: Array) -> Array:
    """Fall from 1 at 0 to 0 at 1 with two continuous derivatives."""
    return np.asarray((1.0 - np.minimum(x, 1.0) ** 2) ** 3)
