from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.collections import s22
from rdkit import Chem

from ase_mlwave.models.amons import amon_geometries, amons_of, find_amons
from ase_mlwave.models.amons.fragments.contacts import find_contacts
from ase_mlwave.models.amons.fragments.perception import molecule_from

WATSON_CRICK = "Adenine-thymine_Watson-Crick_complex"


def water_chain(n: int) -> Atoms:
    """Return n molecules, each the donor of a hydrogen bond to the next."""
    dimer = s22["Water_dimer"]
    oxygens = [atom for atom in range(6) if dimer.numbers[atom] == 8]
    chain = dimer.copy()
    for step in range(1, n - 1):
        donor = dimer[:3].copy()
        donor.translate(step * (dimer.positions[oxygens[0]] - dimer.positions[oxygens[1]]))
        chain += donor
    return chain


def elements(name: str) -> list[tuple[str, str]]:
    atoms = s22[name]
    return sorted(tuple(sorted((atoms[i].symbol, atoms[j].symbol))) for i, j in find_contacts(molecule_from(atoms)))


def test_contacts_of_a_water_dimer_are_its_hydrogen_bond() -> None:
    assert elements("Water_dimer") == [("H", "O")]


def test_contacts_of_a_base_pair_are_its_hydrogen_bonds_and_one_contact() -> None:
    """N-H...O, N...H-N and C-H...O; adenine's C-H touches no more than thymine's O, but the inner hydrogens touch."""
    assert elements(WATSON_CRICK) == [("H", "H"), ("H", "N"), ("H", "O"), ("H", "O")]


def test_sp3_carbon_makes_no_contact() -> None:
    assert elements("Methane_dimer") == []


def test_contacts_within_a_molecule_are_at_least_four_bonds_apart() -> None:
    near = molecule_from(s22["Phenol_dimer"])
    for i, j in find_contacts(near):
        reached = {i}
        for _ in range(3):
            reached |= {other for atom in reached for other in near.neighbours[atom]}
        assert j not in reached


def test_base_pair_has_the_pair_of_each_hydrogen_bond() -> None:
    pairs = set(amons_of(s22[WATSON_CRICK], 4, max_contact_heavy=6)) - set(amons_of(s22[WATSON_CRICK], 4))
    assert {"N.NC=O", "C=N.NC=O"} <= pairs
    assert all(len(smiles.split(".")) == 2 for smiles in pairs)


def test_water_cluster_has_pairs_and_chains_of_three() -> None:
    amons = {amon.smiles: amon for amon in find_amons(water_chain(5), 1, max_contact_heavy=3)}
    assert {smiles: amon.count for smiles, amon in amons.items()} == {"O": 5, "O.O": 4, "O.O.O": 3}
    assert amons["O.O.O"].n_heavy == 3
    assert "O.O.O" not in amons_of(water_chain(5), 1, max_contact_heavy=2)


def test_water_clusters_are_as_large_as_the_limit_allows() -> None:
    amons = {amon.smiles: amon.count for amon in find_amons(water_chain(6), 1, max_contact_heavy=5)}
    assert amons == {"O": 6, "O.O": 5, "O.O.O": 4, "O.O.O.O": 3, "O.O.O.O.O": 2}


def test_contact_amons_share_no_atom_and_no_bond() -> None:
    molecule = molecule_from(s22["Phenol_dimer"])
    for amon in find_amons(molecule, 5, max_contact_heavy=8):
        for atoms in amon.occurrences:
            kept = set(atoms)
            bonds = sum(other in kept for atom in atoms for other in molecule.neighbours[atom]) // 2
            parts = amon.smiles.split(".")
            assert bonds == sum(Chem.MolFromSmiles(part).GetNumBonds() for part in parts)
            assert len(kept) == sum(Chem.MolFromSmiles(part).GetNumAtoms() for part in parts)


def test_unrelaxed_dimers_are_those_of_the_cluster() -> None:
    chain = water_chain(3)
    dimers = [r for r in amon_geometries(chain, 1, max_contact_heavy=2) if r.info["smiles"] == "O.O"]
    molecule = molecule_from(chain)
    assert len(dimers) == 2
    for record in dimers:
        heavy = list(record.info["query_atoms"])
        hydrogens = [other for atom in heavy for other in molecule.neighbours[atom]]
        np.testing.assert_allclose(record.positions, molecule.positions[[*heavy, *hydrogens]], rtol=0, atol=1e-9)


def test_caps_of_contact_amons_are_relaxed_and_nothing_else() -> None:
    query = molecule_from(s22[WATSON_CRICK])
    arguments = {"max_heavy": 2, "max_contact_heavy": 4}
    relaxed = [r for r in amon_geometries(query, **arguments) if r.info["smiles"] == "C=N.N"]
    as_cut = [r for r in amon_geometries(query, **arguments, relax=False) if r.info["smiles"] == "C=N.N"]
    assert len(relaxed) == len(as_cut) == 2
    for one, two in zip(relaxed, as_cut, strict=True):
        heavy = one.info["query_atoms"]
        n_caps = sum(query.numbers[b] > 1 and b not in heavy for a in heavy for b in query.neighbours[a])
        moved = np.abs(one.positions - two.positions).max(axis=1)
        assert moved[:-n_caps].max() < 1e-9
        assert moved[-n_caps:].min() > 1e-3


def test_time_is_linear_in_the_number_of_molecules() -> None:
    def seconds(n: int) -> float:
        chain = molecule_from(water_chain(n))
        start = time.thread_time()
        find_amons(chain, 1, max_contact_heavy=3)
        return time.thread_time() - start

    seconds(10)
    assert seconds(160) < 12 * seconds(40)  # 16 where it is quadratic, 4 measured


def test_contacts_need_coordinates() -> None:
    with pytest.raises(InputError, match="contacts need coordinates"):
        amons_of("O.O", 1, max_contact_heavy=2)


def test_limit_below_two_is_refused() -> None:
    with pytest.raises(InputError, match="1 < 2"):
        amons_of(s22["Water_dimer"], 1, max_contact_heavy=1)
