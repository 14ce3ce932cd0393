"""How far two geometries of a molecule are apart, however they are placed, and whichever hydrogen is which."""

from __future__ import annotations

from itertools import permutations, product
from math import factorial, prod

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

#: Arrangements of hydrogens that are tried at most.
_MOST = 20_000


def rmsd(atoms: Atoms, reference: Atoms) -> tuple[float, float]:
    """Find the root mean square deviation of the positions after optimal superposition, Angstrom.

    Over all atoms, and over those other than hydrogen, each with its own superposition. Hydrogens of the same atom (of
    a methyl group that has turned) count as exchangeable, mirror images do not. Both must have the same atoms in the
    same order (``ValueError``). Source: Kabsch, Acta Cryst. A 32, 922 (1976).
    """
    if not np.array_equal(atoms.numbers, reference.numbers):
        raise ValueError(f"{atoms.symbols} and {reference.symbols} are not the same atoms in the same order.")
    whole = _kabsch(atoms.positions[_orders(reference)], reference.positions)
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


def _orders(atoms: Atoms) -> NDArray[np.int64]:
    """Return the orders of atoms (K, N) that exchange hydrogens of the same atom; only the given one if too many."""
    given = np.arange(len(atoms))
    hydrogens, heavy = (given[one] for one in (atoms.numbers == 1, atoms.numbers > 1))
    if not len(hydrogens) or not len(heavy):
        return given[None]
    nearest = atoms.get_all_distances()[np.ix_(hydrogens, heavy)].argmin(1)
    groups = [hydrogens[nearest == one] for one in np.unique(nearest)]
    if prod(factorial(len(group)) for group in groups) > _MOST:
        return given[None]
    arrangements = np.array([np.concatenate(one) for one in product(*map(permutations, groups))])
    orders = np.tile(given, (len(arrangements), 1))
    orders[:, np.concatenate(groups)] = arrangements
    return orders
