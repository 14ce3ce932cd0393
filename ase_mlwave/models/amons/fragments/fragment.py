"""The covalent fragments of a molecule: cut in all ways, judged by the rules, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ase.calculators.calculator import InputError
from rdkit import Chem, rdBase

from ase_mlwave.models.amons.fragments.capping import cap_fragment, is_crowded
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond, canonical_smiles, rdkit_graph
from ase_mlwave.models.amons.fragments.rules import atoms, rings
from ase_mlwave.models.amons.fragments.rules.bonding import perceived_orders
from ase_mlwave.models.amons.fragments.subgraphs import connected_subgraphs

__all__ = ["Fragment", "fragments_of"]

Rule = Callable[[frozenset[int]], bool]

#: Connected parts of a molecule that are looked at (a minute's work).
_MOST_PARTS = 500_000


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


def fragments_of(
    molecule: Molecule,
    max_heavy: int,
    roots: Iterable[int] | None = None,
    *,
    allow_charges: bool = False,
    larger: Iterable[frozenset[int]] = (),
) -> Iterator[Fragment]:
    """Cut a molecule in all allowed ways.

    Parameters
    ----------
    molecule : Molecule
        The query.
    max_heavy : int
        Largest number of heavy atoms.
    roots : iterable of int, optional
        Atoms of which one must be the smallest of the fragment; all by default.
    allow_charges : bool
        Cut charged fragments out of charged molecules, see
        `ase_mlwave.models.amons.fragments.rules.atoms.WholeCharges`.
    larger : iterable of frozenset of int
        Parts with more heavy atoms that are tried, too.

    Yields
    ------
    Fragment
        One per place.

    Raises
    ------
    InputError
        If there are more than 500,000 connected parts of that size to judge.

    Notes
    -----
    The number of fragments, and so the time, is linear in the size of a molecule. A SMILES is made once for all
    fragments that are written alike (``_written``), which is most of them.
    """
    rules = _rules(molecule, allow_charges)
    names: dict[Any, str] = {}
    for inside in chain(_parts(molecule, max_heavy, roots), larger):
        if not all(rule(inside) for rule in rules):
            continue
        if len(inside & molecule.radicals) > 1:
            continue
        orders = perceived_orders(molecule, inside)
        if orders is None or (
            molecule.positions is not None and is_crowded(cap_fragment(molecule, inside, orders).molecule)
        ):
            continue
        written = _written(molecule, inside, orders)
        if written not in names:
            names[written] = _smiles(*written)
        yield Fragment(tuple(sorted(inside)), tuple(sorted(orders.items())), names[written])


def _parts(molecule: Molecule, max_heavy: int, roots: Iterable[int] | None) -> Iterator[frozenset[int]]:
    """Enumerate connected parts of a molecule; ``InputError`` where there are too many."""
    heavy = molecule.heavy
    place = {atom: index for index, atom in enumerate(heavy)}
    adjacent = [[place[other] for other in molecule.neighbours[atom] if other in place] for atom in heavy]
    starts = None if roots is None else [place[atom] for atom in roots if atom in place]
    for count, nodes in enumerate(connected_subgraphs(adjacent, max_heavy, starts)):
        if count == _MOST_PARTS:
            raise InputError(
                f"the query has more than {_MOST_PARTS:,} connected parts of at most {max_heavy} heavy atoms. Choose a "
                "smaller max_heavy."
            )
        yield frozenset(heavy[node] for node in nodes)


def _rules(molecule: Molecule, allow_charges: bool) -> tuple[Rule, ...]:
    """Return the rules that judge fragments of this molecule, the cheap ones first."""
    sets = rings.RingSets(molecule)
    always: tuple[Rule, ...] = (
        atoms.LoneAtoms(molecule),
        atoms.WholeCharges(molecule) if allow_charges else atoms.NeutralFragments(molecule),
        atoms.WholeCarbonyls(molecule),
        rings.ConjugatedRings(sets),
        rings.StrainedRings(sets),
        rings.ResonantSubstituents(sets),
        atoms.SparedCentres(molecule),
    )
    return always if molecule.positions is None else (*always, atoms.CrowdedCaps(molecule))


_Atoms = tuple[tuple[int, int, int], ...]
_Bonds = tuple[tuple[int, int, int], ...]


def _written(molecule: Molecule, inside: frozenset[int], orders: dict[Bond, int]) -> tuple[_Atoms, _Bonds]:
    """Write a fragment's graph so that the same graph is often, and another graph never, written the same way.

    Atoms (element, charge, hydrogens) come in the order of these and of the same of their neighbours, ties as in the
    query.
    """
    label, around = {}, {}
    linked = {atom: [other for other in molecule.neighbours[atom] if other in inside] for atom in inside}
    for atom in inside:
        hydrogens = len(molecule.neighbours[atom]) - len(linked[atom])
        label[atom] = (molecule.numbers[atom], molecule.charges[atom], hydrogens)
    for atom in inside:
        around[atom] = sorted((label[other], orders[(min(atom, other), max(atom, other))]) for other in linked[atom])
    ranked = sorted(inside, key=lambda atom: (label[atom], around[atom], atom))
    place = {atom: index for index, atom in enumerate(ranked)}
    ends = (((place[i], place[j]), order) for (i, j), order in orders.items())
    bonds = sorted((min(pair), max(pair), order) for pair, order in ends)
    return tuple(label[atom] for atom in ranked), tuple(bonds)


def _smiles(labels: _Atoms, bonds: _Bonds) -> str:
    """Name a fragment."""
    numbers, charges, hydrogens = zip(*labels, strict=True)
    editable = rdkit_graph(numbers, charges, {(i, j): order for i, j, order in bonds}, hydrogens)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(editable)
    return canonical_smiles(editable.GetMol())
