"""A short-range repulsion under models that have none: atoms that come nearer than any chemistry are pushed apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import ArrayLike, NDArray

from ase_mlwave.models.domain.screening import FACTORS, LENGTH, POWER, RATES
from ase_mlwave.units import BOHR

__all__ = ["Wall", "repulsion"]

Array = NDArray[np.float64]

#: The repulsion begins at this share of the sum of covalent radii: below all triple bonds, hot ones too.
_BEGIN = 0.7


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


def repulsion(
    numbers: NDArray[np.int64], positions: Array, cell: Array | None = None, pbc: ArrayLike | None = None
) -> Wall:
    """Compute the repulsion of atoms that are nearer than bonds are.

    Parameters
    ----------
    numbers : (N,)
        Atomic numbers.
    positions : (N, 3)
        Bohr.
    cell : (3, 3), optional
        Cell vectors in rows, Bohr; of a molecule none.
    pbc : (3,), optional
        Which of them are periods.

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
    radii = _BEGIN * covalent_radii / BOHR
    box = np.eye(3) if cell is None else np.asarray(cell, dtype=np.float64)
    periods = np.zeros(3, dtype=bool) if pbc is None else np.asarray(pbc, dtype=bool)
    found = primitive_neighbor_list("ijDd", periods, box, positions, radii[numbers])
    i, j, vectors, r = (np.asarray(part) for part in found)
    forces, virial = np.zeros((len(numbers), 3)), np.zeros((3, 3))
    if not len(r):
        return Wall(np.zeros(len(numbers)), forces, virial)
    r = np.maximum(r, 1e-6)
    energies, slopes = _pair(
        numbers[i].astype(float), numbers[j].astype(float), r, radii[numbers[i]] + radii[numbers[j]]
    )
    pulls = 0.5 * (slopes / r)[:, None] * vectors  # half: every pair is listed both ways
    np.add.at(forces, i, pulls)
    np.add.at(forces, j, -pulls)
    by_atom: Array = np.bincount(i, 0.5 * energies, len(numbers)).astype(np.float64)
    return Wall(by_atom, forces, vectors.T @ pulls)


def _pair(z1: Array, z2: Array, r: Array, begin: Array) -> tuple[Array, Array]:
    """Evaluate the energies of pairs and their derivatives with respect to r."""
    length = LENGTH / (z1**POWER + z2**POWER)
    terms = np.array(FACTORS) * np.exp(-(r / length)[:, None] * np.array(RATES))
    phi, phi_slope = terms.sum(axis=1), -(terms * np.array(RATES)).sum(axis=1) / length
    bare = z1 * z2 / r
    x = 1.0 - (r / begin) ** 2
    fade, fade_slope = x**3, -6.0 * x**2 * r / begin**2
    return bare * phi * fade, bare * ((phi_slope - phi / r) * fade + phi * fade_slope)
