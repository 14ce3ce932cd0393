"""What the amons of a query leave out, found before any label is paid for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from ase.calculators.calculator import InputError
from ase.data import chemical_symbols

from ase_mlwave.models.amons.fragments.fragment import Fragment
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.periodic import Unrolled

__all__ = ["refuse_gaps"]

_NAMED = 5


def refuse_gaps(unrolled: Unrolled, fragments: Sequence[Fragment], max_heavy: int) -> None:
    """Raise ``InputError`` where no model of these fragments could predict the query.

    Parameters
    ----------
    unrolled : Unrolled
        The query.
    fragments : sequence of Fragment
        Its amons, those that touch included.
    max_heavy : int
        Largest number of heavy atoms that was asked for.

    Raises
    ------
    InputError
        If an element is in no amon, or an ion is, or two ions are in none together: charges attract and repel each
        other over any distance (2.9 eV at 5 Angstrom), and only amons that hold both teach that.
    """
    if unrolled.roots is None:
        _refuse_torn_ions(unrolled, fragments, max_heavy)
    molecule = unrolled.molecule
    inside = {atom for fragment in fragments for atom in fragment.atoms}
    missing = {molecule.numbers[a] for a in molecule.heavy} - {molecule.numbers[a] for a in inside}
    if missing:
        places = [atom for atom in molecule.heavy if molecule.numbers[atom] in missing]
        raise InputError(
            f"no amon of at most {max_heavy} heavy atoms has an atom of "
            f"{', '.join(chemical_symbols[number] for number in sorted(missing))} ({_named(unrolled, places)}), so "
            f"nothing could be learned of it. {_larger(max_heavy)}"
        )


def _refuse_torn_ions(unrolled: Unrolled, fragments: Sequence[Fragment], max_heavy: int) -> None:
    """Raise ``InputError`` for ions that are in no amon, or in none together."""
    ions = [group for group in unrolled.molecule.charged_groups if sum(unrolled.molecule.charges[a] for a in group)]
    holding: list[set[int]] = [
        {index for index, fragment in enumerate(fragments) if group.issubset(fragment.atoms)} for group in ions
    ]
    for group, places in zip(ions, holding, strict=True):
        if not places and len(ions) == 1:
            raise InputError(
                f"no amon of at most {max_heavy} heavy atoms has the ion at {_named(unrolled, group)}, so its charge "
                f"could not be learned. {_larger(max_heavy)}"
            )
    for one, other in combinations(range(len(ions)), 2):
        if not holding[one] & holding[other]:
            atoms = _path(unrolled.molecule, ions[one], ions[other])
            advice = (
                "They belong to different molecules: raise max_contact_heavy, so that amons hold both"
                if atoms is None
                else f"They are {atoms} heavy atoms apart, their own included: raise max_heavy to that or a little more"
            )
            raise InputError(
                f"no amon holds both charges, at {_named(unrolled, ions[one])} and at {_named(unrolled, ions[other])}: "
                f"how they attract or repel each other, electron volts, would not be learned. {advice}, or ask for a "
                "neutral form of the query."
            )


def _larger(max_heavy: int) -> str:
    return f"Ask for larger amons: max_heavy above {max_heavy}, or (where molecules touch) max_contact_heavy."


def _named(unrolled: Unrolled, places: Iterable[int]) -> str:
    atoms = dict.fromkeys((unrolled.atoms[place], unrolled.molecule.numbers[place]) for place in sorted(places))
    shown = [f"{chemical_symbols[number]}{atom}" for atom, number in atoms]
    return ", ".join(shown[:_NAMED]) + (f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else "")


def _path(molecule: Molecule, start: frozenset[int], end: frozenset[int]) -> int | None:
    """Count the heavy atoms of the shortest chain from one group to another, or return None where there is no chain."""
    for count, reached in enumerate(_shells(molecule, start), start=1):
        if reached & end:
            return count
    return None


def _shells(molecule: Molecule, start: frozenset[int]) -> Iterator[set[int]]:
    """Yield what is within 0, 1, 2, ... bonds of a group."""
    reached, border = set(start), set(start)
    while border:
        yield reached
        border = {other for atom in border for other in molecule.neighbours[atom]} - reached
        reached = reached | border
