"""How far two geometries of a molecule are apart, however they are placed, and whichever hydrogen is which."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

#: Arrangements of hydrogens that are tried at most.
_MOST = 20_000


def rmsd(atoms: Atoms, reference: Atoms) -> tuple[float, float]:
    """Find the root mean square deviation of the positions after optimal superposition, Angstrom.

    Over all atoms, and over those other than hydrogen, each with its own superposition. Hydrogens of the same atom (of
    a methyl group that has turned) count as exchangeable, mirror images do not. Both must have the same atoms in the
    same order (``ValueError``).

    Notes
    -----
    Rotations, translations and exchanged hydrogens change nothing (``test_rmsd_ignores_placement_and_methyl_turns``).
    Source: Kabsch, Acta Cryst. A 32, 922 (1976).
    """
    if not np.array_equal(atoms.numbers, reference.numbers):
        raise ValueError(f"{atoms.symbols} and {reference.symbols} are not the same atoms in the same order.")
    orders = np.array(list(_orders(reference)))
    whole = _kabsch(atoms.positions[orders], reference.positions)
    heavy = reference.numbers > 1
    skeleton = _kabsch(atoms.positions[heavy][None], reference.positions[heavy]) if heavy.any() else whole
    return float(whole.min()), float(skeleton.min())


def _kabsch(moving: NDArray[np.float64], fixed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the deviation of each of (K, N, 3) positions from (N, 3) after optimal proper rotation, (K,)."""
    a = moving - moving.mean(1, keepdims=True)
    b = fixed - fixed.mean(0)
    singular = np.linalg.svd(np.einsum("kni,nj->kij", a, b))
    handedness = np.sign(np.linalg.det(singular.U) * np.linalg.det(singular.Vh))
    overlap = singular.S[:, 0] + singular.S[:, 1] + handedness * singular.S[:, 2]
    squared = ((a**2).sum((1, 2)) + (b**2).sum() - 2 * overlap) / len(fixed)
    result: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return result


def _orders(atoms: Atoms) -> Iterator[list[int]]:
    """Give the orders of the atoms that exchange hydrogens bound to the same atom; only the given one if too many."""
    heavy = np.flatnonzero(atoms.numbers > 1)
    groups: dict[int, list[int]] = {}
    if len(heavy):
        distances = atoms.get_all_distances()
        for hydrogen in np.flatnonzero(atoms.numbers == 1):
            groups.setdefault(int(heavy[distances[hydrogen, heavy].argmin()]), []).append(int(hydrogen))
    choices = [list(permutations(group)) for group in groups.values()]
    if np.prod([float(len(choice)) for choice in choices]) > _MOST:
        choices = []
    places = [place for group in list(groups.values())[: len(choices)] for place in group]
    for arrangement in product(*choices):
        order = list(range(len(atoms)))
        for place, hydrogen in zip(places, (h for group in arrangement for h in group), strict=True):
            order[place] = hydrogen
        yield order
