"""Charges and dipole moments from density matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyscf import gto

__all__ = ["dipole_moment", "mulliken_charges"]

Array = NDArray[np.float64]


def mulliken_charges(density: Array, mole: gto.Mole) -> Array:
    """Partition the electrons among atoms after Mulliken.

    Parameters
    ----------
    density : ndarray, (M, M)
        P, summed over spins.
    mole : pyscf.gto.Mole
        The molecule.

    Returns
    -------
    ndarray, (N,)
        q_A = Z_A - sum_{p on A} (P S)_pp, e. They add up to the molecule's charge (``test_charges_add_up``).

    Raises
    ------
    ValueError
        If ``density`` does not fit the molecule.

    Notes
    -----
    They depend strongly on the basis; compare only within one. With an effective core potential, Z is the charge that
    remains. Source: Mulliken 1955 (doi:10.1063/1.1740588).
    """
    _check(density, mole)
    electrons = np.einsum("pq,qp->p", density, mole.intor_symmetric("int1e_ovlp"))
    charges: Array = mole.atom_charges().astype(np.float64)
    for atom, (_, _, start, stop) in enumerate(mole.aoslice_by_atom()):
        charges[atom] -= electrons[start:stop].sum()
    return charges


def dipole_moment(density: Array, mole: gto.Mole, origin: ArrayLike = (0.0, 0.0, 0.0)) -> Array:
    """Evaluate the electric dipole moment, nuclei and electrons.

    Parameters
    ----------
    density : ndarray, (M, M)
        P, summed over spins.
    mole : pyscf.gto.Mole
        The molecule.
    origin : array_like, (3,)
        Bohr. It matters only for charged molecules, whose dipole moment shifts by -charge times the origin; the
        default is the origin of the coordinates, so that of an ion changes when the ion is moved.

    Returns
    -------
    ndarray, (3,)
        e * Bohr, from minus to plus.

    Raises
    ------
    ValueError
        If ``density`` does not fit the molecule.
    """
    _check(density, mole)
    centre = np.asarray(origin, dtype=np.float64)
    with mole.with_common_orig(centre):
        integrals = mole.intor_symmetric("int1e_r", comp=3)
    nuclei = mole.atom_charges() @ (mole.atom_coords() - centre)
    dipole: Array = nuclei - np.einsum("xpq,qp->x", integrals, density)
    return dipole


def _check(density: Array, mole: gto.Mole) -> None:
    if np.shape(density) != (mole.nao, mole.nao):
        raise ValueError(
            f"density has shape {np.shape(density)} but the molecule {mole.nao} basis functions; give the total "
            f"density ({mole.nao}, {mole.nao}), summed over spins"
        )
