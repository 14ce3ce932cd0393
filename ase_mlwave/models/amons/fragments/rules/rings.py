"""Rules on rings: conjugated ones, their substituents, strained ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.rules.bonding import resonant_atoms
from ase_mlwave.models.amons.fragments.subgraphs import rings

__all__ = ["ConjugatedRings", "ResonantSubstituents", "RingSets", "StrainedRings"]

#: Members of a ring -> how many of them a fragment may have if it has not all of them.
_CONJUGATED_PARTS = {3: 1, 4: 1, 5: 4, 6: 4, 7: 4}
_STRAINED_PARTS = {3: 1, 4: 2}
_CARBON, _NITROGEN, _OXYGEN = 6, 7, 8
#: Elements whose lone pair conjugates, and their neighbours when they have one.
_DONORS = {7: 3, 8: 2, 16: 2}

Ring = frozenset[int]


class RingSets:
    """Hold the rings of 3 to 7 members that are not the union of two smaller ones, and what conjugates in them.

    Parameters
    ----------
    molecule : Molecule
        The query.

    Attributes
    ----------
    all : tuple of frozenset of int
        The rings that rules look at, smaller ones first: of 6 and 7 members those all of whose members conjugate.
    planar : frozenset of int
        Atoms that are sp or sp2. A three-coordinate N counts only next to C=O, where it is aromatic, or where its bond
        orders add up to more than 3: other amines are pyramidal, whatever they are bonded to.
    touching : frozenset of int
        Atoms next to a planar one that conjugate with it: C (hyperconjugation), and N, O, S with a lone pair.
    """

    def __init__(self, molecule: Molecule) -> None:
        self.molecule = molecule
        self.planar = frozenset(atom for atom in molecule.heavy if _is_planar(molecule, atom))
        self.touching = frozenset(
            atom
            for atom in molecule.heavy
            if atom not in self.planar
            and (molecule.numbers[atom] == _CARBON or self.is_donor(atom))
            and not self.planar.isdisjoint(molecule.neighbours[atom])
        )
        self.all = self._rings()

    def _rings(self) -> tuple[Ring, ...]:
        """Find all rings of 3 to 5 members, and of 6 and 7 where all of them conjugate: no rule looks at others."""
        neighbours = self.molecule.neighbours
        conjugating = self.planar | self.touching
        inner = [[b for b in around if b in conjugating] * (a in conjugating) for a, around in enumerate(neighbours)]
        candidates = {*rings(neighbours, 5), *rings(inner, 7)}
        return tuple(sorted(candidates, key=lambda ring: (len(ring), sorted(ring))))

    def is_donor(self, atom: int) -> bool:
        """Tell whether an atom is an N, O or S with a lone pair and single bonds only."""
        neighbours = len(self.molecule.neighbours[atom])
        return _DONORS.get(self.molecule.numbers[atom]) == neighbours and self.molecule.valences[atom] == neighbours

    @property
    def conjugated(self) -> tuple[Ring, ...]:
        """Rings all of whose atoms are planar."""
        return tuple(ring for ring in self.all if ring <= self.planar)


class ConjugatedRings:
    """Refuse fragments with too large a part of a conjugated ring (rule 6)."""

    def __init__(self, sets: RingSets) -> None:
        self._at = _by_atom(sets.conjugated)

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        return all(_whole_or_small(ring, fragment, _CONJUGATED_PARTS) for ring in _touched(self._at, fragment))


class ResonantSubstituents:
    """Refuse substituents of a five-ring's conjugated atoms whose bonds differ between Kekule structures (rule 8).

    The substituent would lose its ring, and with it what made its bonds equal.

    Differs from the paper's program: a substituent whose conjugated ring is wholly inside loses nothing, so that indole
    and purine are amons of what contains them. No amon of seven heavy atoms is affected: two such rings have eight.
    """

    def __init__(self, sets: RingSets) -> None:
        self._sets = sets
        self._at = _by_atom(ring for ring in sets.all if len(ring) == 5)
        self._resonant = resonant_atoms(sets.molecule) if self._at else frozenset()

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        if self._resonant.isdisjoint(fragment):
            return True
        whole = [ring for ring in _touched(self._at, fragment) if ring <= fragment]
        conjugated = {atom for ring in whole for atom in ring if self._conjugates(atom, fragment)}
        neighbours = self._sets.molecule.neighbours
        around = {other for atom in conjugated for other in neighbours[atom] if other in fragment}
        entire = {atom for ring in self._sets.conjugated if ring <= fragment for atom in ring}
        return self._resonant.isdisjoint(around - conjugated - entire)

    def _conjugates(self, atom: int, fragment: frozenset[int]) -> bool:
        """Tell whether an atom conjugates in the fragment, whose other atoms are gone."""
        molecule = self._sets.molecule
        if molecule.valences[atom] > len(molecule.neighbours[atom]):
            return atom in self._sets.planar
        return self._sets.is_donor(atom) and any(
            other in fragment and other in self._sets.planar for other in molecule.neighbours[atom]
        )


class StrainedRings:
    """Refuse parts of a three- or four-ring in which an atom would lose its strain (rule 9).

    A ring each of whose atoms conjugates, be it by hyperconjugation only, is left to the other rules. Strained are
    three- and four-rings, and five- and seven-rings all of whose atoms conjugate.
    """

    def __init__(self, sets: RingSets) -> None:
        conjugating = sets.planar | sets.touching
        in_smaller: set[int] = set()
        strained: list[Ring] = []
        for size in (3, 4, 5, 7):
            of_size = [ring for ring in sets.all if len(ring) == size and not ring <= in_smaller]
            strained += [ring for ring in of_size if size < 5 or ring <= conjugating]
            in_smaller = {atom for ring in sets.all if len(ring) <= size for atom in ring}
        self._strained = _by_atom(strained)
        self._guarded = _by_atom(ring for ring in strained if len(ring) < 5 and not ring <= conjugating)

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        guarded = _touched(self._guarded, fragment)
        parts = [ring & fragment for ring in guarded if not _whole_or_small(ring, fragment, _STRAINED_PARTS)]
        if not parts:
            return True
        strained = {atom for ring in _touched(self._strained, fragment) if ring <= fragment for atom in ring}
        return all(part <= strained for part in parts)


def _by_atom(ring_sets: Iterable[Ring]) -> dict[int, list[Ring]]:
    """List the rings that each atom is in."""
    at: dict[int, list[Ring]] = {}
    for ring in ring_sets:
        for atom in ring:
            at.setdefault(atom, []).append(ring)
    return at


def _touched(at: dict[int, list[Ring]], fragment: frozenset[int]) -> set[Ring]:
    """Return the rings with an atom in the fragment."""
    return {ring for atom in fragment for ring in at.get(atom, ())}


def _whole_or_small(ring: Ring, fragment: frozenset[int], parts: dict[int, int]) -> bool:
    """Tell whether a fragment has all of a ring, or no more than the table allows."""
    n_inside = len(ring & fragment)
    return n_inside == len(ring) or n_inside <= parts[len(ring)]


def _is_planar(molecule: Molecule, atom: int) -> bool:
    """Tell whether an atom counts as sp or sp2, see ``RingSets``."""
    if atom not in molecule.flat:
        return False
    if molecule.numbers[atom] != _NITROGEN or len(molecule.neighbours[atom]) != 3:
        return True
    return atom in molecule.aromatic or molecule.valences[atom] > 3 or _next_to_carbonyl(molecule, atom)


def _next_to_carbonyl(molecule: Molecule, atom: int) -> bool:
    carbons: Sequence[int] = [other for other in molecule.neighbours[atom] if molecule.numbers[other] == _CARBON]
    return any(
        molecule.numbers[oxygen] == _OXYGEN and molecule.order(carbon, oxygen) == 2
        for carbon in carbons
        for oxygen in molecule.neighbours[carbon]
    )
