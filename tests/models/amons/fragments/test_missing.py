"""The amon that a model lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import s22

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.models.amons.fragments.missing import FragmentFinder
from ase_mlwave.models.amons.fragments.selection import amons_of, find_amons

ETHANOL = molecule("CH3CH2OH")  # C, C, O, and hydrogens


def place(atoms: Atoms, symbol: str) -> int:
    return atoms.get_chemical_symbols().index(symbol)


def test_smallest_unknown_fragment_with_the_neighbours_is_found() -> None:
    finder, oxygen = FragmentFinder(ETHANOL), place(ETHANOL, "O")
    assert finder.missing([oxygen], {"C", "O"}).smiles == "CO"  # with its only neighbour
    assert finder.missing([oxygen], {"C", "O", "CO"}).smiles == "CCO"
    assert finder.missing([oxygen], {"C", "O", "CO", "CC", "CCO"}) is None
    assert finder.missing([oxygen], {"C", "CO", "CC", "CCO"}).smiles == "O"  # better than nothing


def test_hydrogen_stands_for_its_neighbour() -> None:
    hydroxyl = int(np.argmin(np.linalg.norm(ETHANOL.positions[3:] - ETHANOL.positions[2], axis=1))) + 3
    assert FragmentFinder(ETHANOL).missing([hydroxyl], {"C", "O", "CC"}).smiles == "CO"


def test_next_atom_counts_where_all_around_the_worst_is_known() -> None:
    atoms = molecule("CH3CONH2")
    carbonyl, methyl = place(atoms, "O"), 4
    known = {amon.smiles for amon in find_amons(atoms, 7) if carbonyl in {i for w in amon.occurrences for i in w}}
    assert known == {"C=O", "CC=O", "CC(N)=O", "NC=O"}
    found = FragmentFinder(atoms).missing([carbonyl, methyl], known)
    assert found.smiles in {"C", "N"}


@pytest.mark.parametrize("name", ["CH3CH2OH", "CH3CONH2", "C6H6", "C5H5N"])
def test_what_is_missing_is_an_amon(name: str) -> None:
    atoms = molecule(name)
    for atom in np.flatnonzero(atoms.numbers > 1)[:3]:
        known: set[str] = set()
        while (found := FragmentFinder(atoms).missing([int(atom)], known)) is not None:
            known.add(found.smiles)
            assert int(atom) in found.atoms
        at_atom = {amon.smiles for amon in find_amons(atoms, 7) if any(int(atom) in w for w in amon.occurrences)}
        assert known == at_atom


@pytest.mark.parametrize("relax", [None, "caps", False])
def test_geometry_is_that_of_the_amon(relax: Any) -> None:
    finder = FragmentFinder(ETHANOL)
    found = finder.geometry(finder.missing([place(ETHANOL, "O")], {"C", "O"}), relax)
    (expected,) = [r for r in amon_geometries(ETHANOL, 2, relax=relax) if r.info["smiles"] == "CO"]
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-6)


def test_fragment_keeps_the_coordinates_of_the_structure() -> None:
    finder = FragmentFinder(ETHANOL)
    as_is = finder.geometry(finder.missing([place(ETHANOL, "O")], {"C", "O"}), "caps")
    own = record_from_atoms(ETHANOL)
    np.testing.assert_allclose(
        as_is.positions[:2], own.positions[1:3] if own.numbers[1] == 6 else own.positions[[0, 2]]
    )
    assert as_is.info == {"smiles": "CO", "n_heavy": 2}
    assert as_is.numbers.tolist() == [6, 8, 1, 1, 1, 1]


def test_largest_fragment_around_an_atom() -> None:
    finder, oxygen = FragmentFinder(ETHANOL), place(ETHANOL, "O")
    assert [finder.largest_around([oxygen], size).smiles for size in (1, 2, 3, 5)] == ["O", "CO", "CCO", "CCO"]


def test_crystal_has_fragments() -> None:
    silicon = bulk("Si", "diamond", a=5.43)
    found = FragmentFinder(silicon, largest=5).missing([1], {"[SiH4]"})
    assert found.smiles in amons_of(silicon, 5)
    assert len(found.atoms) == 5  # the atom with its four neighbours


def test_pair_that_touches_is_missing_where_all_covalent_amons_are_known() -> None:
    dimer = s22["Formamide_dimer"]
    covalent = set(amons_of(dimer, 7))
    finder = FragmentFinder(dimer)
    found = finder.missing([place(dimer, "O")], covalent)
    assert found.smiles.count(".") == 1
    assert found.smiles in amons_of(dimer, 7, max_contact_heavy=6)
    every = set(amons_of(dimer, 7, max_contact_heavy=6))
    assert finder.missing(range(len(dimer)), every) is None
