"""From a query to its amons: the covalent ones, those that touch, and where they occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ase.calculators.calculator import InputError

from ase_mlwave.amons.contacts import contact_fragments
from ase_mlwave.amons.fragments import Fragment, fragments_of
from ase_mlwave.amons.molecule import Molecule
from ase_mlwave.amons.perception import molecule_from

__all__ = ["Amon", "all_fragments", "amons_of", "find_amons"]


@dataclass(frozen=True)
class Amon:
    """Hold one amon and where it occurs.

    Parameters
    ----------
    smiles : str
        Canonical SMILES without stereochemistry.
    n_heavy : int
        Number of atoms that are not hydrogen.
    occurrences : tuple of tuple of int
        Heavy atoms of the query (indices in the query as given), one tuple per place.
    """

    smiles: str
    n_heavy: int
    occurrences: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Number of places in the query."""
        return len(self.occurrences)


def amons_of(query: Any, max_heavy: int = 7, *, max_contact_heavy: int | None = None) -> tuple[str, ...]:
    """Return the canonical SMILES of all amons of a query.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms or Record
        A SMILES, a file (SDF, MOL, PDB, or any that ASE reads), or a molecule. With coordinates fragments whose cap
        hydrogens would collide are left out.
    max_heavy : int
        Largest number of heavy atoms of a covalent amon.
    max_contact_heavy : int, optional
        Largest number of heavy atoms of a non-covalent amon (two covalent ones that touch in the query, three for
        water and the like). None for covalent amons only.

    Returns
    -------
    tuple of str
        Without stereochemistry, the parts of a non-covalent amon joined by dots; sorted by number of heavy atoms, then
        as text.

    Raises
    ------
    InputError
        If the query cannot be read, its bonds are not certain, a limit is too small, or non-covalent amons are asked of
        a query without coordinates.

    Notes
    -----
    The sets are those of the public program aqml (``test_graph_sets_are_those_of_the_public_program``).
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020), and the program's default options.

    Examples
    --------
    >>> amons_of("Cc1ccccc1", max_heavy=3)
    ('C', 'C=C', 'C=CC')
    """
    return tuple(amon.smiles for amon in find_amons(query, max_heavy, max_contact_heavy=max_contact_heavy))


def find_amons(query: Any, max_heavy: int = 7, *, max_contact_heavy: int | None = None) -> tuple[Amon, ...]:
    """Find all amons of a query and the places where they occur.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        See ``amons_of``.
    max_heavy, max_contact_heavy : int
        See ``amons_of``.

    Returns
    -------
    tuple of Amon
        Sorted by number of heavy atoms, then by SMILES.

    Raises
    ------
    InputError
        See ``amons_of``.
    """
    places: dict[str, list[tuple[int, ...]]] = {}
    for fragment in all_fragments(molecule_from(query), max_heavy, max_contact_heavy):
        places.setdefault(fragment.smiles, []).append(fragment.atoms)
    found = [Amon(smiles, len(where[0]), tuple(sorted(where))) for smiles, where in places.items()]
    return tuple(sorted(found, key=lambda amon: (amon.n_heavy, amon.smiles)))


def all_fragments(molecule: Molecule, max_heavy: int, max_contact_heavy: int | None = None) -> tuple[Fragment, ...]:
    """Return every place in a molecule where an amon is, covalent ones first.

    Parameters
    ----------
    molecule : Molecule
        The query.
    max_heavy, max_contact_heavy : int
        See ``amons_of``.

    Returns
    -------
    tuple of Fragment
        In the order of discovery.

    Raises
    ------
    InputError
        If a limit is too small, or contacts are asked of a molecule without positions.
    """
    if max_heavy < 1:
        raise InputError(f"max_heavy is the number of heavy atoms of the largest amon; {max_heavy} is below 1.")
    if max_contact_heavy is not None and max_contact_heavy < 2:
        raise InputError(f"max_contact_heavy counts the heavy atoms of two amons that touch; {max_contact_heavy} < 2.")
    covalent = tuple(fragments_of(molecule, max_heavy))
    if max_contact_heavy is None:
        return covalent
    return (*covalent, *contact_fragments(molecule, covalent, max_contact_heavy))
