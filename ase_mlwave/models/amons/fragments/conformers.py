"""Conformers told apart by an invariant of their geometry, without comparing each with each."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.units import BOHR

__all__ = ["ConformerSet", "geometry_fingerprint", "is_same_conformer", "most_different"]

#: Conformers whose fingerprints differ by no more than this (L1, 1/Angstrom) are the same.
_SAME = 0.01


def geometry_fingerprint(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what tells conformers of one molecule apart.

    Parameters
    ----------
    positions : (N, 3) float64
        Bohr.

    Returns
    -------
    (N,) float64
        Sum of 1/r_ij over the other atoms for each atom, ascending, 1/Angstrom. Invariant to rotation, translation,
        reflection and the order of atoms (``test_fingerprint_does_not_see_rotation_and_order``).
    """
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1) * BOHR
    np.fill_diagonal(distances, np.inf)
    return np.asarray(np.sort((1.0 / distances).sum(axis=1)))


def is_same_conformer(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Tell whether two fingerprints are those of one conformer: they differ by at most 0.01 per Angstrom (L1)."""
    return float(np.abs(one - other).sum()) <= _SAME


class ConformerSet:
    """Remember the conformers of one molecule.

    Notes
    -----
    Two conformers are the same if their fingerprints differ by at most 0.01/Angstrom in the L1 norm. The sums of two
    such fingerprints differ by no more than that, so only conformers with about the same sum are compared.
    """

    def __init__(self) -> None:
        self._sums: list[float] = []
        self._fingerprints: list[NDArray[np.float64]] = []

    def add(self, positions: NDArray[np.float64]) -> bool:
        """Add a geometry (N, 3), Bohr, and tell whether it was new."""
        fingerprint = geometry_fingerprint(positions)
        total = float(fingerprint.sum())
        index = bisect_left(self._sums, total - _SAME)
        place = index
        while index < len(self._sums) and self._sums[index] <= total + _SAME:
            if is_same_conformer(fingerprint, self._fingerprints[index]):
                return False
            place += self._sums[index] < total
            index += 1
        self._sums.insert(place, total)
        self._fingerprints.insert(place, fingerprint)
        return True


def most_different(fingerprints: NDArray[np.float64], count: int) -> list[int]:
    """Choose conformers that are far from one another.

    Parameters
    ----------
    fingerprints : (C, N) float64
        Of all conformers of a molecule.
    count : int
        How many to choose, at least 1.

    Returns
    -------
    list of int
        Indices, ascending: the first conformer, then always the one farthest (L1) from those chosen. All where there
        are no more than ``count``.
    """
    selected = [0]
    nearest = np.abs(fingerprints - fingerprints[0]).sum(axis=1)
    while len(selected) < min(count, len(fingerprints)):
        selected.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.abs(fingerprints - fingerprints[selected[-1]]).sum(axis=1))
    return sorted(selected)
