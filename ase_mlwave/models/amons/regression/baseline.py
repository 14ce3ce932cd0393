"""What is taken off the energies before they are learned: the energies of dressed, or of free, atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

__all__ = ["atomic_baseline", "compositions", "lost_freedom"]

Array = NDArray[np.float64]


def compositions(molecules: Sequence[ArrayLike], elements: Sequence[int]) -> Array:
    """Count the atoms of each element.

    Parameters
    ----------
    molecules : sequence of array_like of int, (B,) of (N,)
        Atomic numbers.
    elements : sequence of int, (Z,)
        What to count.

    Returns
    -------
    ndarray, (B, Z)
    """
    counts = [[np.count_nonzero(np.asarray(numbers) == z) for z in elements] for numbers in molecules]
    return np.array(counts, dtype=np.float64).reshape(len(molecules), len(elements))


def atomic_baseline(
    counts: Array,
    energies: Array,
    free_atoms: Mapping[int, float],
    elements: Sequence[int],
    *,
    completed: bool = True,
) -> Array:
    """Fit the energy of an atom of each element: least squares on compositions, free atoms where that is not unique.

    Parameters
    ----------
    counts : ndarray, (B, Z)
        From `compositions`.
    energies : ndarray, (B,)
        Of the molecules, Hartree.
    free_atoms : mapping of int to float
        Atomic number -> energy of the free atom, Hartree. Needed only where the compositions are linearly dependent.
    elements : sequence of int, (Z,)
        Atomic numbers of the columns.
    completed : bool
        Where compositions are linearly dependent, change the free atoms by as little as fits the energies best. The
        publication takes them as they are, which leaves the binding energies of all molecules to the kernel.

    Returns
    -------
    ndarray, (Z,)
        Hartree.

    Raises
    ------
    ValueError
        If the compositions do not determine the energies and a free atom is missing.

    Notes
    -----
    Molecules built of such atoms are fitted exactly (``test_dressed_atoms_are_found``).
    """
    if np.linalg.matrix_rank(counts) == len(elements):
        return np.asarray(np.linalg.lstsq(counts, energies)[0], dtype=np.float64)
    missing = [chemical_symbols[z] for z in elements if z not in free_atoms]
    if missing:
        raise ValueError(
            f"{len(counts)} training molecules do not determine the energies of {len(elements)} kinds of atoms, and "
            f"the free atoms' energies of {', '.join(missing)} are not given. Give them as free_atoms, or add "
            "molecules of other compositions."
        )
    free = np.array([free_atoms[z] for z in elements], dtype=np.float64)
    if not completed:
        return free
    return free + np.asarray(np.linalg.lstsq(counts, energies - counts @ free)[0], dtype=np.float64)


def lost_freedom(counts: Array) -> float:
    """Say how much too small the variance of energies looks once a baseline was fitted to them.

    Parameters
    ----------
    counts : ndarray, (B, Z)
        From `compositions`.

    Returns
    -------
    float
        n / (n - r) for n different compositions of which r are independent; n where no freedom is left. Copies of a
        molecule in other geometries are energies of their own, but tell nothing more of the baseline.
    """
    different = np.unique(counts, axis=0)
    return len(different) / max(1, len(different) - int(np.linalg.matrix_rank(different)))
