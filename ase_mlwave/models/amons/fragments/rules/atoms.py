"""Rules on single atoms and groups: charge, lone atoms, carbonyls, phosphorus and sulfur, crowded caps."""

from __future__ import annotations

from dataclasses import dataclass

from ase_mlwave.models.amons.fragments.molecule import Molecule

__all__ = ["CrowdedCaps", "LoneAtoms", "NeutralFragments", "SparedCentres", "WholeCarbonyls", "WholeCharges"]

_OXYGEN, _CARBON, _NEON = 8, 6, 10
_HALOGENS = frozenset({9, 17, 35, 53})
_PHOSPHORUS_AND_SULFUR = frozenset({15, 16})


@dataclass(frozen=True)
class NeutralFragments:
    """Admit fragments whose formal charges add up to 0 (rule 2)."""

    molecule: Molecule

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        charges = self.molecule.charges
        return sum(charges[atom] for atom in fragment) == 0


class WholeCharges:
    """Admit charged fragments of charged molecules, and neutral fragments of neutral ones.

    A fragment has all of a charged group, or nothing of it; so nitro groups stay neutral, carboxylates charged. Neutral
    molecules keep to rule 2: the two ends of a zwitterion attract each other, and apart they would not teach that.

    Differs from the paper, whose amons are neutral: a charged query has amons that miss its charge.
    """

    def __init__(self, molecule: Molecule) -> None:
        self._molecule = molecule
        self._group = {atom: group for group in molecule.charged_groups for atom in group}
        self._charged = frozenset(
            atom for part in molecule.parts if sum(molecule.charges[atom] for atom in part) for atom in part
        )

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        if fragment.isdisjoint(self._charged):
            return sum(self._molecule.charges[atom] for atom in fragment) == 0
        return all(self._group[atom] <= fragment for atom in fragment if atom in self._group)


@dataclass(frozen=True)
class LoneAtoms:
    """Admit a single atom if all its bonds were single, and, if it is a halogen or an anion, was alone before (rule 2).

    Differs from the paper's program, which has no amons for hydrogen halides.
    """

    molecule: Molecule

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        if len(fragment) > 1:
            return True
        (atom,) = fragment
        neighbours = self.molecule.neighbours[atom]
        if self.molecule.valences[atom] != len(neighbours):
            return False
        saturated = all(self.molecule.numbers[other] == 1 for other in neighbours)
        return saturated or (self.molecule.numbers[atom] not in _HALOGENS and self.molecule.charges[atom] >= 0)


@dataclass(frozen=True)
class SparedCentres:
    """Refuse fragments in which a P or S loses three or more heavy neighbours (rule 4)."""

    molecule: Molecule

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        numbers, neighbours = self.molecule.numbers, self.molecule.neighbours
        for atom in fragment:
            if numbers[atom] in _PHOSPHORUS_AND_SULFUR:
                n_lost = sum(numbers[other] > 1 and other not in fragment for other in neighbours[atom])
                if n_lost > 2:
                    return False
        return True


class WholeCarbonyls:
    """Refuse fragments that cut a carbonyl group, C=O with a three-coordinate C, in two (rule 5)."""

    def __init__(self, molecule: Molecule) -> None:
        self._other: dict[int, int] = {}
        for (i, j), order in molecule.orders.items():
            for carbon, oxygen in ((i, j), (j, i)):
                pair = (molecule.numbers[carbon], molecule.numbers[oxygen])
                if order == 2 and pair == (_CARBON, _OXYGEN) and len(molecule.neighbours[carbon]) == 3:
                    self._other.update({carbon: oxygen, oxygen: carbon})

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        return all(self._other.get(atom, atom) in fragment for atom in fragment)


@dataclass(frozen=True)
class CrowdedCaps:
    """Refuse fragments two of whose cap hydrogens replace the same small atom and would collide (rule 10)."""

    molecule: Molecule

    def __call__(self, fragment: frozenset[int]) -> bool:
        """Tell whether the fragment may be an amon."""
        numbers, neighbours = self.molecule.numbers, self.molecule.neighbours
        outer = [other for atom in fragment for other in neighbours[atom] if other not in fragment]
        removed = [other for other in outer if 1 < numbers[other] < _NEON]
        return len(removed) == len(set(removed))
