"""Which amon a model lacks: the smallest fragment around the atoms that it covers badly and was not trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ase import Atoms

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.contacts import IN_CELLS, contact_fragments, usual_contact_heavy
from ase_mlwave.models.amons.fragments.fragment import Fragment, fragments_of
from ase_mlwave.models.amons.fragments.geometry import Relax, cut_out
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.models.amons.fragments.periodic import Unrolled, images_touch, unroll
from ase_mlwave.models.amons.fragments.rdkit_graphs import pair_of

__all__ = ["FragmentFinder"]

#: Heavy atoms of the largest fragment that is looked for: two fused aromatic rings; in cells those of the publication.
_LARGEST, _LARGEST_IN_CELLS = 10, 7


class FragmentFinder:
    """Find fragments around atoms of one structure.

    Parameters
    ----------
    query : ase.Atoms, Record or Molecule
        With coordinates; periodic ``Atoms`` too.
    largest : int, optional
        Largest number of heavy atoms; by default 10, in cells 7.
    contact_heavy : int, optional
        Largest number of heavy atoms of fragments that touch; by default what is usual for the structure.

    Raises
    ------
    InputError
        If the bonds of the structure are not certain.
    """

    def __init__(self, query: Any, largest: int | None = None, contact_heavy: int | None = None) -> None:
        periodic = isinstance(query, Atoms) and bool(query.pbc.any())
        self.largest = largest or (_LARGEST_IN_CELLS if periodic else _LARGEST)
        molecule = None if periodic else molecule_from(query)
        usual = usual_contact_heavy(molecule) if molecule is not None else IN_CELLS if images_touch(query) else None
        self.contact_heavy = usual if contact_heavy is None else contact_heavy
        self._unrolled = (
            unroll(query, self.largest, max_contact_heavy=self.contact_heavy)
            if molecule is None
            else Unrolled.of_molecule(molecule)
        )
        roots = self._unrolled.roots
        places = range(len(self.molecule)) if roots is None else roots
        self._place = {self._unrolled.atoms[place]: place for place in places}

    @property
    def molecule(self) -> Molecule:
        """What fragments are cut from."""
        return self._unrolled.molecule

    @property
    def is_periodic(self) -> bool:
        """Whether the structure is a cell."""
        return self._unrolled.roots is not None

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
            atom. Of several, the one with more of the worst atoms. Where all of these are known, the smallest pair of
            fragments that touch with one of the worst atoms in it. None where all are known.
        """
        centres = self._centres(worst)
        for atom in centres:
            heavy = (other for other in self.molecule.neighbours[atom] if self.molecule.numbers[other] > 1)
            surroundings = {atom, *heavy}
            partial = None
            for size in range(1, self.largest + 1):
                unknown = [f for f in self._around(atom, size) if f.smiles not in known]
                complete = _best([f for f in unknown if surroundings.issubset(f.atoms)], centres)
                if complete is not None:
                    return complete
                partial = partial or _best(unknown, centres)
            if partial is not None:
                return partial
        touching = [f for f in self._touching(centres) if f.smiles not in known]
        smallest = min((len(f.atoms) for f in touching), default=0)
        return _best([f for f in touching if len(f.atoms) == smallest], centres)

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
                fragment = _best(self._around(atom, n_heavy), centres)
                if fragment is not None:
                    return fragment
        return None

    def geometry(self, fragment: Fragment, relax: Relax) -> Record:
        """Cut a fragment out of the structure, as `amon_geometries` does.

        Parameters
        ----------
        fragment : Fragment
            From `missing` or `largest_around`.
        relax : bool, "caps" or None
            See ``relax`` of `amon_geometries`.

        Returns
        -------
        Record
            Without labels; ``info`` has ``"smiles"`` and ``"n_heavy"``.
        """
        cut = cut_out(self._unrolled, fragment, relax)
        return cut.to_record(smiles=fragment.smiles, n_heavy=len(fragment.atoms))

    def _touching(self, centres: Sequence[int]) -> list[Fragment]:
        """Return the pairs of fragments that touch and have some of the atoms."""
        if self.contact_heavy is None or self.molecule.positions is None:
            return []
        parts = fragments_of(self.molecule, min(self.largest, self.contact_heavy - 1), allow_charges=True)
        touching = contact_fragments(self.molecule, parts, self.contact_heavy)
        return [fragment for fragment in touching if set(centres) & set(fragment.atoms)]

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
                orders = ((pair_of(order[i], order[j]), value) for (i, j), value in fragment.orders)
                yield Fragment(tuple(sorted(order[i] for i in fragment.atoms)), tuple(sorted(orders)), fragment.smiles)


def _best(fragments: Any, centres: Sequence[int]) -> Fragment | None:
    """Take the fragment with most of the atoms, the worst ones first; then by its name."""

    def rank(fragment: Fragment) -> tuple[Any, ...]:
        holds = [atom in fragment.atoms for atom in centres]
        return -sum(holds), [not there for there in holds], fragment.smiles, fragment.atoms

    return min(fragments, key=rank, default=None)


def _in_order(molecule: Molecule, order: Sequence[int]) -> Molecule:
    """Return the molecule with its atoms in another order."""
    place = {atom: index for index, atom in enumerate(order)}
    return replace(
        molecule,
        numbers=tuple(molecule.numbers[atom] for atom in order),
        charges=tuple(molecule.charges[atom] for atom in order),
        orders={pair_of(place[i], place[j]): value for (i, j), value in molecule.orders.items()},
        flat=frozenset(place[atom] for atom in molecule.flat),
        aromatic=frozenset(place[atom] for atom in molecule.aromatic),
        positions=None if molecule.positions is None else molecule.positions[list(order)],
        radicals=frozenset(place[atom] for atom in molecule.radicals),
    )
