from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdMolTransforms

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.models.amons import amon_geometries, amons_of
from ase_mlwave.models.amons.fragments.capping import CAP_LENGTHS, cap_fragment, is_crowded
from ase_mlwave.models.amons.fragments.conformers import geometry_fingerprint
from ase_mlwave.models.amons.fragments.fragment import fragments_of
from ase_mlwave.models.amons.fragments.geometry import relax_fragment
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.models.amons.fragments.rdkit_graphs import canonical_smiles
from ase_mlwave.units import BOHR

CASES: dict[str, Any] = json.loads((Path(__file__).parent / "files" / "amon_sets.json").read_text(encoding="utf-8"))
FURYL = next(case for case in CASES["geometry"] if case["name"] == "furyl_propanol")


def furyl() -> Chem.Mol:
    return Chem.MolFromMolBlock(FURYL["sdf"].split("$$$$")[0], removeHs=False)


def test_number_of_conformers_is_the_documented_one() -> None:
    records = amon_geometries(furyl())
    assert len(records) == FURYL["conformers"]
    assert sorted({record.info["smiles"] for record in records}) == sorted(FURYL["amons"])


def test_geometries_are_molecules_of_their_smiles() -> None:
    for record in amon_geometries(furyl()):
        assert canonical_smiles(molecule_from(record).to_rdkit()) == record.info["smiles"]
        assert (record.charge, record.spin) == (0, 0)
        assert int((record.numbers > 1).sum()) == record.info["n_heavy"]


def test_geometries_are_sorted_by_size() -> None:
    keys = [(record.info["n_heavy"], record.info["smiles"]) for record in amon_geometries(furyl())]
    assert keys == sorted(keys)


def test_unrelaxed_atoms_stay_where_they_are_in_the_query() -> None:
    query = molecule_from(furyl())
    for record in amon_geometries(query, 4, relax=False):
        heavy = list(record.info["query_atoms"])
        np.testing.assert_array_equal(record.positions[: len(heavy)], query.positions[heavy])


def test_caps_lie_on_the_cut_bonds() -> None:
    query = molecule_from(molecule("CH3CH2OH"))
    capped = cap_fragment(query, frozenset({0, 1}), {(0, 1): 1})  # C-C of ethanol
    assert capped.n_caps == 1
    (carbon,) = (atom for atom in (0, 1) if query.order(atom, 2))
    cap, bond = capped.molecule.positions[-1] - query.positions[carbon], query.positions[2] - query.positions[carbon]
    assert np.linalg.norm(cap) == pytest.approx(CAP_LENGTHS[6], abs=1e-12)
    assert cap @ bond == pytest.approx(np.linalg.norm(cap) * np.linalg.norm(bond), abs=1e-12)


def test_relaxation_keeps_the_torsions_of_heavy_atoms() -> None:
    query = molecule_from(furyl())
    largest = moved = 0.0
    for fragment in fragments_of(query, 7):
        capped = cap_fragment(query, frozenset(fragment.atoms), dict(fragment.orders))
        relaxed = relax_fragment(capped)
        before, after = capped.molecule.to_rdkit().GetConformer(), relaxed.to_rdkit().GetConformer()
        moved = max(moved, float(np.abs(relaxed.positions - capped.molecule.positions).max()))
        for chain in chains(capped.molecule.heavy, capped.molecule.neighbours):
            turn = rdMolTransforms.GetDihedralDeg(after, *chain) - rdMolTransforms.GetDihedralDeg(before, *chain)
            largest = max(largest, abs((turn + 180.0) % 360.0 - 180.0))
    assert moved > 0.1
    assert largest < 2.5  # the walls at 2 degrees are stiff, not hard


def chains(heavy: tuple[int, ...], neighbours: tuple[tuple[int, ...], ...]) -> list[tuple[int, int, int, int]]:
    found = [(i, j, k, l) for j in heavy for k in neighbours[j] for i in neighbours[j] for l in neighbours[k]]
    return [chain for chain in found if len(set(chain)) == 4 and set(chain) <= set(heavy)]


def test_fragment_without_force_field_keeps_its_coordinates() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CB(O)O"))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0
    query = molecule_from(mol)
    kept = frozenset(query.heavy)
    capped = cap_fragment(query, kept, {bond: order for bond, order in query.orders.items() if set(bond) <= kept})
    assert relax_fragment(capped) is capped.molecule


def test_no_two_conformers_are_alike() -> None:
    records = amon_geometries(furyl())
    by_smiles: dict[str, list[np.ndarray]] = {}
    for record in records:
        by_smiles.setdefault(record.info["smiles"], []).append(geometry_fingerprint(record.positions))
    assert Counter(len(found) for found in by_smiles.values())[2] == 5
    for found in by_smiles.values():
        assert all(np.abs(one - two).sum() > 0.01 for one, two in pairwise(found))


def test_graph_gets_conformers_from_a_seed() -> None:
    records = amon_geometries("CCCCO", 5, seed=4)
    assert {record.info["smiles"] for record in records} == set(amons_of("CCCCO", 5))
    assert len(records) > len(amons_of("CCCCO", 5))  # butane, butanol have several
    again = amon_geometries("CCCCO", 5, seed=4)
    for one, two in zip(records, again, strict=True):
        np.testing.assert_array_equal(one.positions, two.positions)


def test_number_of_conformers_can_be_limited() -> None:
    few = amon_geometries(furyl(), max_conformers=1)
    assert [record.info["smiles"] for record in few] == list(amons_of(furyl()))
    with pytest.raises(InputError, match="0 is below 1"):
        amon_geometries("CC", max_conformers=0)


def test_crowded_geometry_is_told() -> None:
    water = molecule("H2O")
    assert not is_crowded(molecule_from(water))
    two = Atoms([*water, *water])
    two.positions[3:] += (0, 0, 3.0)
    near = molecule_from(two)
    assert not is_crowded(near)
    squeezed = near.positions.copy()
    squeezed[3:, 2] -= 1.9 / BOHR
    assert is_crowded(type(near)(near.numbers, near.charges, near.orders, positions=squeezed))


def test_geometries_are_ase_molecules_in_angstrom() -> None:
    (methane,) = amon_geometries("C", 1)
    lengths = atoms_from_record(methane).get_distances(0, [1, 2, 3, 4])
    np.testing.assert_allclose(lengths, 1.092, atol=0.01)


def test_caps_alone_are_relaxed() -> None:
    query = molecule("CH3CH2OH")
    for record in amon_geometries(query, 2, relax="caps"):
        moved = np.abs(record.positions[:, None] * BOHR - query.positions).sum(axis=2).min(axis=1) > 1e-6
        kept = len(record) - int(moved.sum())
        assert 0 < moved.sum() <= 2  # one cap for each cut bond
        assert kept >= record.info["n_heavy"]
        assert np.all(record.numbers[moved] == 1)
