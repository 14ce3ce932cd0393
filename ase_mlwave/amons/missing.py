"""Which amon a model lacks: the smallest fragment around the atoms that it covers badly and was not trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from ase_mlwave.amons.capping import cap_fragment
from ase_mlwave.amons.fragments import Fragment, fragments_of
from ase_mlwave.amons.geometry import relax_fragment
from ase_mlwave.amons.molecule import Bond, Molecule
from ase_mlwave.amons.perception import molecule_from
from ase_mlwave.amons.periodic import Unrolled, unroll
from ase_mlwave.data.record import Record

__all__ = ["FragmentFinder"]

#: Heavy atoms of the largest fragment that is looked for: the largest amons of the publication.
_LARGEST = 7


class FragmentFinder:
    """Find fragments around atoms of one structure.

    Parameters
    ----------
    query : ase.Atoms, Record or Molecule
        With coordinates; periodic ``Atoms`` too.
    largest : int
        Largest number of heavy atoms.

    Raises
    ------
    InputError
        If the bonds of the structure are not certain.
    """

    def __init__(self, query: Any, largest: int = _LARGEST) -> None:
        periodic = isinstance(query, Atoms) and query.pbc.any()
        self.largest = largest
        self._unrolled = unroll(query, largest) if periodic else Unrolled.of_molecule(molecule_from(query))
        roots = self._unrolled.roots
        places = range(len(self.molecule)) if roots is None else roots
        self._place = {self._unrolled.atoms[place]: place for place in places}

    @property
    def molecule(self) -> Molecule:
        """What fragments are cut from."""
        return self._unrolled.molecule

    def missing(self, worst: Sequence[int], known: Collection[str]) -> Fragment | None:
        """Find the amon that would help.

        Parameters
        ----------
        worst : sequence of int
            Badly covered atoms of the query, the worst first. A hydrogen stands for its neighbour.
        known : collection of str
            Canonical SMILES of the amons that there are.

        Returns
        -------
        Fragment or None
            The smallest one that is not known and has the worst atom with all its heavy neighbours; if there is none
            that obeys the rules of selection, one without some of them; if there is none at all, one around the next
            atom. Of several, the one with more of the worst atoms. None where all are known.
        """
        centres = self._centres(worst)
        for atom in centres:
            whole = {atom, *(other for other in self.molecule.neighbours[atom] if self.molecule.numbers[other] > 1)}
            partial = None
            for size in range(1, self.largest + 1):
                found = [f for f in self._around(atom, size) if f.smiles not in known]
                complete = _best([f for f in found if whole.issubset(f.atoms)], centres)
                if complete is not None:
                    return complete
                partial = partial or _best(found, centres)
            if partial is not None:
                return partial
        return None

    def largest_around(self, worst: Sequence[int], size: int) -> Fragment | None:
        """Find the largest fragment around the worst atom, known or not.

        Parameters
        ----------
        worst : sequence of int
            As for `missing`.
        size : int
            Largest number of heavy atoms.

        Returns
        -------
        Fragment or None
            Of several, the one with more of the worst atoms; None where the rules allow none.
        """
        centres = self._centres(worst)
        for atom in centres:
            for n_heavy in range(min(size, self.largest), 0, -1):
                found = _best(self._around(atom, n_heavy), centres)
                if found is not None:
                    return found
        return None

    def geometries(self, fragment: Fragment) -> tuple[Record, ...]:
        """Cut a fragment out of the structure: as it is, and of molecules also relaxed with MMFF94, as amons are.

        Parameters
        ----------
        fragment : Fragment
            From `missing` or `largest_around`.

        Returns
        -------
        tuple of Record
            Without labels; ``info`` has ``"smiles"`` and ``"n_heavy"``.
        """
        capped = cap_fragment(self.molecule, frozenset(fragment.atoms), dict(fragment.orders))
        info = {"smiles": fragment.smiles, "n_heavy": len(fragment.atoms)}
        records = []
        relaxed = [relax_fragment(capped)] if self._unrolled.roots is None else []
        for made in (capped.molecule, *relaxed):
            numbers = np.array(made.numbers, dtype=np.int64)
            charge = sum(made.charges)
            spin = int(numbers.sum() - charge) % 2
            if made.positions is not None:
                records.append(Record(numbers=numbers, positions=made.positions, charge=charge, spin=spin, info=info))
        return tuple(records)

    def _centres(self, worst: Sequence[int]) -> list[int]:
        """Replace hydrogens by their neighbours; each place once, in order."""
        numbers, neighbours = self.molecule.numbers, self.molecule.neighbours
        places = [self._place[atom] for atom in worst]
        heavy = [
            next((other for other in neighbours[place] if numbers[other] > 1), None) if numbers[place] == 1 else place
            for place in places
        ]
        return list(dict.fromkeys(place for place in heavy if place is not None))

    def _around(self, atom: int, size: int) -> Iterator[Fragment]:
        """Yield the fragments of a size that have an atom: those whose smallest atom it is, once it is the first."""
        order = [atom, *(other for other in range(len(self.molecule)) if other != atom)]
        for fragment in fragments_of(_in_order(self.molecule, order), size, [0], allow_charges=True):
            if len(fragment.atoms) == size:
                orders = ((_pair(order[i], order[j]), value) for (i, j), value in fragment.orders)
                yield Fragment(tuple(sorted(order[i] for i in fragment.atoms)), tuple(sorted(orders)), fragment.smiles)


def _best(found: Any, centres: Sequence[int]) -> Fragment | None:
    """Take the fragment with most of the atoms, the worst ones first; then by its name."""

    def rank(fragment: Fragment) -> tuple[Any, ...]:
        held = [atom in fragment.atoms for atom in centres]
        return -sum(held), [not there for there in held], fragment.smiles, fragment.atoms

    return min(found, key=rank, default=None)


def _in_order(molecule: Molecule, order: Sequence[int]) -> Molecule:
    """Return the molecule with its atoms in another order."""
    place = {atom: index for index, atom in enumerate(order)}
    return replace(
        molecule,
        numbers=tuple(molecule.numbers[atom] for atom in order),
        charges=tuple(molecule.charges[atom] for atom in order),
        orders={_pair(place[i], place[j]): value for (i, j), value in molecule.orders.items()},
        flat=frozenset(place[atom] for atom in molecule.flat),
        aromatic=frozenset(place[atom] for atom in molecule.aromatic),
        positions=None if molecule.positions is None else molecule.positions[list(order)],
        radicals=frozenset(place[atom] for atom in molecule.radicals),
    )


def _pair(i: int, j: int) -> Bond:
    return (min(i, j), max(i, j))
