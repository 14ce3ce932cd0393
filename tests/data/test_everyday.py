"""The molecules of ``datasets/make_everyday_gfn2.py`` are those of its words, whoever draws them."""

from __future__ import annotations

import importlib.util
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.splits import formula_split
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR
from tests.commands import ROOT

pytest.importorskip("rdkit")
pytest.importorskip("tblite")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("everyday", ROOT / "datasets/make_everyday_gfn2.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_molecules_are_different_small_and_the_same_for_everybody(script: ModuleType) -> None:
    from rdkit import Chem

    found = list(script.smiles_of_molecules(300, 0))
    assert found == list(islice(script.smiles_of_molecules(1000, 0), 300))
    assert found != list(script.smiles_of_molecules(300, 1))
    assert len(set(found)) == 300
    molecules = [Chem.MolFromSmiles(smiles) for smiles in found]
    assert max(one.GetNumHeavyAtoms() for one in molecules) <= script.MOST_HEAVY
    assert {atom.GetSymbol() for one in molecules for atom in one.GetAtoms()} == set("CNOFS") | {"Cl"}


def test_forces_of_the_dynamics_are_derivatives_wherever_they_are_asked_for(script: ModuleType) -> None:
    """RDKit's gradient takes the distances that the last energy left behind."""
    start = from_smiles("NS(=O)(=O)CCl")
    field, places = script.Field(start.info["smiles"]), start.positions * BOHR
    field.forces(places)
    moved = places + 0.1 * np.random.default_rng(1).normal(size=places.shape)
    forces = field.forces(moved)
    step = np.zeros_like(moved)
    for place in ((0, 0), (1, 2), (4, 1)):
        step[:] = 0
        step[place] = 1e-4
        slope = (field.energy(moved + step) - field.energy(moved - step)) / 2e-4
        assert forces[place] == pytest.approx(-slope, abs=1e-5)


def test_geometries_keep_their_bonds_and_have_the_split_of_their_formula(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "smiles_of_molecules", lambda number, seed: iter(["CS", "C=CF", "CC(=O)Cl"]))
    script.main([str(tmp_path / "some.extxyz")])
    data = read_dataset(tmp_path / "some.extxyz")
    assert [record.info["temperature"] for record in data] == 3 * [0, 300, 1000]
    assert [record.info["split"] for record in data] == [formula_split(record) for record in data]
    for first, *others in (data.records[k : k + 3] for k in (0, 3, 6)):
        bonds = script.bonds_of(atoms_from_record(first))
        assert all(np.array_equal(script.bonds_of(atoms_from_record(one)), bonds) for one in others)
    assert "9 geometries" in capsys.readouterr().out
