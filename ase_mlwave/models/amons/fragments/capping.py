"""A fragment with its hydrogens: those it has in the query, and one in place of each atom that was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond
from ase_mlwave.units import BOHR

__all__ = ["CAP_LENGTHS", "CappedFragment", "cap_fragment", "is_crowded"]

#: Lengths of bonds from an element to the hydrogen that replaces a neighbour, Bohr.
CAP_LENGTHS: Mapping[int, float] = {
    number: length / BOHR
    for number, length in {
        5: 1.20, 6: 1.10, 7: 1.00, 8: 0.98, 9: 0.92, 14: 1.48, 15: 1.42, 16: 1.34, 17: 1.27, 35: 1.41, 53: 1.61,
    }.items()
}  # fmt: skip
#: Atoms that are not bonded are this many sums of covalent radii apart.
_CROWDED = 1.25


@dataclass(frozen=True, eq=False)
class CappedFragment:
    """Hold a fragment as a molecule of its own.

    Parameters
    ----------
    molecule : Molecule
        Heavy atoms first (ascending in the query), then hydrogens of the query, then caps.
    sources : tuple of int
        The query's atom at the place of each atom; for a cap that is the heavy atom which it replaces.
    n_caps : int
        Number of caps.
    """

    molecule: Molecule
    sources: tuple[int, ...]
    n_caps: int


def cap_fragment(molecule: Molecule, fragment: frozenset[int], orders: Mapping[Bond, int]) -> CappedFragment:
    """Cut a fragment out and saturate its cut bonds with hydrogen.

    Parameters
    ----------
    molecule : Molecule
        The query.
    fragment : frozenset of int
        Heavy atoms of the fragment.
    orders : mapping of (int, int) to int
        Orders of the bonds between them.

    Returns
    -------
    CappedFragment
        With positions where the query has them: heavy atoms stay where they are, a cap lies on the cut bond at the
        length of ``CAP_LENGTHS`` (the sum of covalent radii for other elements).
    """
    heavy = sorted(fragment)
    place = {atom: index for index, atom in enumerate(heavy)}
    outer = [(a, b) for a in heavy for b in molecule.neighbours[a] if b not in fragment]
    outer.sort(key=lambda bond: molecule.numbers[bond[1]] > 1)  # hydrogens of the query first
    bonds = {(place[i], place[j]): order for (i, j), order in orders.items()}
    bonds.update({(place[a], len(heavy) + n): 1 for n, (a, _) in enumerate(outer)})
    positions = None
    if molecule.positions is not None:
        ends = [_end(molecule, molecule.positions, a, b) for a, b in outer]
        positions = np.array([*molecule.positions[heavy], *ends])
    capped = Molecule(
        numbers=(*(molecule.numbers[atom] for atom in heavy), *(1 for _ in outer)),
        charges=(*(molecule.charges[atom] for atom in heavy), *(0 for _ in outer)),
        orders=bonds,
        positions=positions,
    )
    n_caps = sum(molecule.numbers[b] > 1 for _, b in outer)
    return CappedFragment(capped, (*heavy, *(b for _, b in outer)), n_caps)


def is_crowded(molecule: Molecule) -> bool:
    """Tell whether two atoms that are not bonded are closer than 1.25 sums of their covalent radii.

    Parameters
    ----------
    molecule : Molecule
        With positions, else nothing can be crowded.

    Returns
    -------
    bool
        True if so (rule 10).
    """
    if molecule.positions is None:
        return False
    reach = covalent_radii[list(molecule.numbers)] * (_CROWDED / BOHR)
    apart = molecule.positions[:, None] - molecule.positions[None]
    close = np.einsum("ijk,ijk->ij", apart, apart) < (reach[:, None] + reach[None]) ** 2
    np.fill_diagonal(close, False)
    bonds = np.array(list(molecule.orders), dtype=int).reshape(-1, 2).T
    close[bonds[0], bonds[1]] = close[bonds[1], bonds[0]] = False
    return bool(close.any())


def _end(molecule: Molecule, positions: NDArray[np.float64], atom: int, other: int) -> NDArray[np.float64]:
    """Return where the hydrogen on a bond to the outside is (3,), Bohr."""
    if molecule.numbers[other] == 1:
        return np.asarray(positions[other])
    number = molecule.numbers[atom]
    length = CAP_LENGTHS.get(number, float(covalent_radii[number] + covalent_radii[1]) / BOHR)
    along = positions[other] - positions[atom]
    return np.asarray(positions[atom] + length * along / np.linalg.norm(along))
