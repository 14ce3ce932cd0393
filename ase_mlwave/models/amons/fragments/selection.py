"""From a query to its amons: the covalent ones, those that touch, and where they occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.models.amons.fragments.contacts import contact_fragments
from ase_mlwave.models.amons.fragments.fragment import Fragment, fragments_of
from ase_mlwave.models.amons.fragments.fused_rings import fused_rings
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import read_query
from ase_mlwave.models.amons.fragments.periodic import Unrolled, unroll

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


def amons_of(
    query: Any,
    max_heavy: int = 7,
    *,
    max_contact_heavy: int | None = None,
    allow_radicals: bool = False,
    allow_charges: bool = False,
) -> tuple[str, ...]:
    """Return the canonical SMILES of all amons of a query.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms or Record
        A SMILES, a file (SDF, MOL, PDB, or any that ASE reads), or a molecule. With coordinates fragments whose cap
        hydrogens would collide are left out. Periodic ``Atoms`` are crystals, sheets or chains.
    max_heavy : int
        Largest number of heavy atoms of a covalent amon.
    max_contact_heavy : int, optional
        Largest number of heavy atoms of a non-covalent amon (two covalent ones that touch in the query, so many as
        there may be of water and the like), also between images of a crystal. None for covalent amons only.
    allow_radicals : bool
        Accept crystals whose atoms have unpaired electrons (single dopants), and fragments with one such atom.
    allow_charges : bool
        Cut charged fragments out of charged molecules, as `AmonsCalculator.for_query` does: they keep the formal
        charges of their atoms. The published amons of ions miss the charge, for all of them are neutral.

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
    return tuple(
        amon.smiles
        for amon in find_amons(
            query,
            max_heavy,
            max_contact_heavy=max_contact_heavy,
            allow_radicals=allow_radicals,
            allow_charges=allow_charges,
        )
    )


def find_amons(
    query: Any,
    max_heavy: int = 7,
    *,
    max_contact_heavy: int | None = None,
    allow_radicals: bool = False,
    allow_charges: bool = False,
) -> tuple[Amon, ...]:
    """Find all amons of a query and the places where they occur.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        See ``amons_of``.
    max_heavy, max_contact_heavy, allow_radicals, allow_charges
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
    structure = read_query(query)
    unrolled, fragments = all_fragments(structure, max_heavy, max_contact_heavy, allow_radicals, allow_charges)
    for fragment in fragments:
        places.setdefault(fragment.smiles, []).append(tuple(unrolled.atoms[atom] for atom in fragment.atoms))
    amons = [Amon(smiles, len(where[0]), tuple(sorted(where))) for smiles, where in places.items()]
    return tuple(sorted(amons, key=lambda amon: (amon.n_heavy, amon.smiles)))


def all_fragments(
    query: Molecule | Atoms,
    max_heavy: int,
    max_contact_heavy: int | None = None,
    allow_radicals: bool = False,
    allow_charges: bool = False,
    whole_rings: bool = False,
) -> tuple[Unrolled, tuple[Fragment, ...]]:
    """Return every place in a query where an amon is.

    Parameters
    ----------
    query : Molecule or Atoms
        From `read_query`.
    max_heavy, max_contact_heavy, allow_radicals, allow_charges
        See ``amons_of``.
    whole_rings : bool
        Add fused aromatic rings that are larger than that, whole (`fused_rings`); of molecules alone.

    Returns
    -------
    unrolled : Unrolled
        The query as the molecule that fragments are cut from.
    fragments : tuple of Fragment
        In the order of discovery, covalent ones first.

    Raises
    ------
    InputError
        See ``amons_of``.
    """
    if max_heavy < 1:
        raise InputError(f"max_heavy is the number of heavy atoms of the largest amon; {max_heavy} is below 1.")
    if max_contact_heavy is not None and max_contact_heavy < 2:
        raise InputError(f"max_contact_heavy counts the heavy atoms of two amons that touch; {max_contact_heavy} < 2.")
    periodic = isinstance(query, Atoms)
    if isinstance(query, Atoms):
        unrolled = unroll(query, max_heavy, allow_radicals=allow_radicals, max_contact_heavy=max_contact_heavy)
    else:
        unrolled = Unrolled.of_molecule(query)
    larger = fused_rings(query, max_heavy) if whole_rings and isinstance(query, Molecule) else ()
    covalent = tuple(
        fragments_of(unrolled.molecule, max_heavy, unrolled.roots, allow_charges=allow_charges, larger=larger)
    )
    if max_contact_heavy is None:
        return unrolled, covalent
    size = min(max_heavy, max_contact_heavy - 1)
    parts = covalent if not periodic else fragments_of(unrolled.molecule, size, allow_charges=allow_charges)
    touching = contact_fragments(unrolled.molecule, parts, max_contact_heavy, unrolled.roots)
    return unrolled, (*covalent, *touching)
