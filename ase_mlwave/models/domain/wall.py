"""A short-range repulsion under models that have none: atoms that come nearer than any chemistry are pushed apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from ase_mlwave.models.domain.screening import FACTORS, LENGTH, POWER, RATES
from ase_mlwave.systems.neighbours import NeighbourList, find_pairs
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["Wall", "repulsion", "wall_hessian"]

Array = NDArray[np.float64]

#: The repulsion begins at this share of the sum of covalent radii: below all triple bonds, hot ones too.
_BEGIN = 0.7
#: Displacement of second derivatives, Bohr.
_STEP = 1e-4


@dataclass(frozen=True)
class Wall:
    """What the repulsion adds to a structure, atomic units."""

    energies: Array
    """(N,), half of each pair's energy to either atom, Hartree."""
    forces: Array
    """(N, 3), Hartree/Bohr."""
    virial: Array
    """(3, 3), derivative of the energy with respect to strain, Hartree."""

    @property
    def energy(self) -> float:
        """Sum over the atoms, Hartree."""
        return float(self.energies.sum())


def repulsion(system: System, contacts: NeighbourList | None = None) -> Wall:
    """Compute the repulsion of atoms that are nearer than bonds are.

    Parameters
    ----------
    system : System
        A molecule or a cell.
    contacts : NeighbourList, optional
        Remembers near atoms from one step of a simulation to the next.

    Returns
    -------
    Wall
        Zero unless two atoms are nearer than 0.7 times the sum of their covalent radii.

    Notes
    -----
    E = sum_{A<B} Z_A Z_B / r * phi(r / l_AB) * (1 - r^2 / r_0^2)^3 for r < r_0; two continuous derivatives. Laws:
    ``test_wall_is_zero_for_bonds``, ``test_wall_pushes_with_minus_its_derivative``.
    Source of the screening phi: Ziegler, Biersack and Littmark, "The stopping and range of ions in solids" (1985).
    """
    radii = _BEGIN * covalent_radii[system.numbers] / BOHR
    search = find_pairs if contacts is None else contacts.find_pairs
    pairs = search(system, 2 * float(radii.max()))
    vectors, begin = pairs.vectors(system), radii[pairs.first] + radii[pairs.second]
    r = np.maximum(np.linalg.norm(vectors, axis=1), 1e-6)
    forces, near = np.zeros((len(system), 3)), r < begin
    if not near.any():
        return Wall(np.zeros(len(system)), forces, np.zeros((3, 3)))
    i, j, vectors, r = pairs.first[near], pairs.second[near], vectors[near], r[near]
    numbers = system.numbers.astype(np.float64)
    energies, slopes = _pair(numbers[i], numbers[j], r, begin[near])
    pulls = 0.5 * (slopes / r)[:, None] * vectors  # half: every pair is listed both ways
    np.add.at(forces, i, pulls)
    np.add.at(forces, j, -pulls)
    by_atom: Array = np.bincount(i, 0.5 * energies, len(system)).astype(np.float64)
    return Wall(by_atom, forces, vectors.T @ pulls)


def wall_hessian(system: System) -> Array:
    """Differentiate the repulsion twice, (3N, 3N), Hartree/Bohr^2: central differences, since few structures have any.

    Zero, and free, where no atoms are near: two derivatives vanish where the wall begins.
    """
    n_rows = 3 * len(system)
    if not repulsion(system).energy:
        return np.zeros((n_rows, n_rows))
    slopes = []
    for unit in np.eye(n_rows).reshape(n_rows, -1, 3):
        ahead, behind = (replace(system, positions=system.positions + sign * _STEP * unit) for sign in (1, -1))
        slopes.append(((repulsion(behind).forces - repulsion(ahead).forces) / (2 * _STEP)).ravel())
    return np.array(slopes)


def _pair(z1: Array, z2: Array, r: Array, begin: Array) -> tuple[Array, Array]:
    """Evaluate the energies of pairs and their derivatives with respect to r."""
    length = LENGTH / (z1**POWER + z2**POWER)
    terms = np.array(FACTORS) * np.exp(-(r / length)[:, None] * np.array(RATES))
    phi, phi_slope = terms.sum(axis=1), -(terms * np.array(RATES)).sum(axis=1) / length
    bare = z1 * z2 / r
    x = 1.0 - (r / begin) ** 2
    fade, fade_slope = x**3, -6.0 * x**2 * r / begin**2
    return bare * phi * fade, bare * ((phi_slope - phi / r) * fade + phi * fade_slope)
