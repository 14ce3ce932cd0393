"""From a query to its covalent amons: cut, judge by the rules, name, and count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ase.calculators.calculator import InputError
from rdkit import Chem, rdBase

from ase_mlwave.amons.capping import cap_fragment, is_crowded
from ase_mlwave.amons.molecule import Bond, Molecule, canonical_smiles
from ase_mlwave.amons.perception import molecule_from
from ase_mlwave.amons.rules import atoms, rings
from ase_mlwave.amons.rules.bonding import perceived_orders
from ase_mlwave.amons.subgraphs import connected_subgraphs

__all__ = ["Amon", "Fragment", "amons_of", "find_amons", "fragments_of"]

Rule = Callable[[frozenset[int]], bool]


@dataclass(frozen=True)
class Fragment:
    """Hold one place in the query where an amon is.

    Parameters
    ----------
    atoms : tuple of int
        Heavy atoms of the query, ascending.
    orders : tuple of ((int, int), int)
        Bonds between them and their orders in the amon.
    smiles : str
        Canonical SMILES without stereochemistry.
    """

    atoms: tuple[int, ...]
    orders: tuple[tuple[Bond, int], ...]
    smiles: str


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


def amons_of(query: Any, max_heavy: int = 7) -> tuple[str, ...]:
    """Return the canonical SMILES of all covalent amons of a query.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms or Record
        A SMILES, a file (SDF, MOL, PDB, or any that ASE reads), or a molecule. With coordinates fragments whose cap
        hydrogens would collide are left out.
    max_heavy : int
        Largest number of heavy atoms.

    Returns
    -------
    tuple of str
        Without stereochemistry; sorted by number of heavy atoms, then as text.

    Raises
    ------
    InputError
        If the query cannot be read, its bonds are not certain, or ``max_heavy`` is below 1.

    Notes
    -----
    The sets are those of the public program aqml (``test_graph_sets_are_those_of_the_public_program``).
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020), and the program's default options.

    Examples
    --------
    >>> amons_of("Cc1ccccc1", max_heavy=3)
    ('C', 'C=C', 'C=CC')
    """
    return tuple(amon.smiles for amon in find_amons(query, max_heavy))


def find_amons(query: Any, max_heavy: int = 7) -> tuple[Amon, ...]:
    """Find all covalent amons of a query and the places where they occur.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        See ``amons_of``.
    max_heavy : int
        Largest number of heavy atoms.

    Returns
    -------
    tuple of Amon
        Sorted by number of heavy atoms, then by SMILES.

    Raises
    ------
    InputError
        See ``amons_of``.
    """
    if max_heavy < 1:
        raise InputError(f"max_heavy is the number of heavy atoms of the largest amon; {max_heavy} is below 1.")
    places: dict[str, list[tuple[int, ...]]] = {}
    for fragment in fragments_of(molecule_from(query), max_heavy):
        places.setdefault(fragment.smiles, []).append(fragment.atoms)
    found = [Amon(smiles, len(where[0]), tuple(sorted(where))) for smiles, where in places.items()]
    return tuple(sorted(found, key=lambda amon: (amon.n_heavy, amon.smiles)))


def fragments_of(molecule: Molecule, max_heavy: int) -> Iterator[Fragment]:
    """Cut a molecule in all allowed ways.

    Parameters
    ----------
    molecule : Molecule
        The query.
    max_heavy : int
        Largest number of heavy atoms.

    Yields
    ------
    Fragment
        One per place.

    Notes
    -----
    The number of fragments, and so the time, is linear in the size of a molecule. A SMILES is made once for all
    fragments that are written alike (``_written``), which is most of them.
    """
    rules = _rules(molecule)
    heavy = molecule.heavy
    place = {atom: index for index, atom in enumerate(heavy)}
    adjacent = [[place[other] for other in molecule.neighbours[atom] if other in place] for atom in heavy]
    names: dict[Any, str] = {}
    for nodes in connected_subgraphs(adjacent, max_heavy):
        kept = frozenset(heavy[node] for node in nodes)
        if not all(rule(kept) for rule in rules):
            continue
        orders = perceived_orders(molecule, kept)
        if orders is None or (
            molecule.positions is not None and is_crowded(cap_fragment(molecule, kept, orders).molecule)
        ):
            continue
        written = _written(molecule, kept, orders)
        if written not in names:
            names[written] = _smiles(*written)
        yield Fragment(tuple(sorted(kept)), tuple(sorted(orders.items())), names[written])


def _rules(molecule: Molecule) -> tuple[Rule, ...]:
    """Return the rules that judge fragments of this molecule, the cheap ones first."""
    sets = rings.RingSets(molecule)
    always: tuple[Rule, ...] = (
        atoms.LoneAtoms(molecule),
        atoms.NeutralFragments(molecule),
        atoms.WholeCarbonyls(molecule),
        rings.ConjugatedRings(sets),
        rings.StrainedRings(sets),
        rings.ResonantSubstituents(sets),
        atoms.SparedCentres(molecule),
    )
    return always if molecule.positions is None else (*always, atoms.CrowdedCaps(molecule))


_Atoms = tuple[tuple[int, int, int], ...]
_Bonds = tuple[tuple[int, int, int], ...]


def _written(molecule: Molecule, kept: frozenset[int], orders: dict[Bond, int]) -> tuple[_Atoms, _Bonds]:
    """Write a fragment's graph so that the same graph is often, and another graph never, written the same way.

    Atoms (element, charge, hydrogens) come in the order of these and of the same of their neighbours, ties as in the
    query.
    """
    label, around = {}, {}
    linked = {atom: [other for other in molecule.neighbours[atom] if other in kept] for atom in kept}
    for atom in kept:
        hydrogens = len(molecule.neighbours[atom]) - len(linked[atom])
        label[atom] = (molecule.numbers[atom], molecule.charges[atom], hydrogens)
    for atom in kept:
        around[atom] = sorted((label[other], orders[(min(atom, other), max(atom, other))]) for other in linked[atom])
    ranked = sorted(kept, key=lambda atom: (label[atom], around[atom], atom))
    place = {atom: index for index, atom in enumerate(ranked)}
    ends = (((place[i], place[j]), order) for (i, j), order in orders.items())
    bonds = sorted((min(pair), max(pair), order) for pair, order in ends)
    return tuple(label[atom] for atom in ranked), tuple(bonds)


def _smiles(labels: _Atoms, bonds: _Bonds) -> str:
    """Name a fragment."""
    editable = Chem.RWMol()
    for number, charge, hydrogens in labels:
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        atom.SetNumExplicitHs(hydrogens)
        atom.SetNoImplicit(True)
        editable.AddAtom(atom)
    kinds = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
    for i, j, order in bonds:
        editable.AddBond(i, j, kinds[order])
    with rdBase.BlockLogs():
        Chem.SanitizeMol(editable)
    return canonical_smiles(editable.GetMol())
