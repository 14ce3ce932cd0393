from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError

from ase_mlwave.reference.molecules import from_smiles, starting_geometries
from ase_mlwave.systems.checks import check_molecule

BOHR = 0.529177210903


def test_name_of_ase() -> None:
    (water,) = starting_geometries("H2O")
    np.testing.assert_allclose(water.positions, molecule("H2O").positions / BOHR, rtol=1e-8)
    assert water.info == {"name": "H2O"}


@pytest.mark.parametrize(("name", "spin"), [("O2", 2), ("OH", 1), ("CH4", 0)])
def test_unpaired_electrons_of_a_name(name: str, spin: int) -> None:
    (record,) = starting_geometries(f"ase:{name}")
    assert record.spin == spin
    check_molecule(record)


@pytest.mark.parametrize(
    ("smiles", "formula", "charge", "spin"),
    [("CCO", "C2H6O", 0, 0), ("[NH4+]", "H4N", 1, 0), ("C[O-]", "CH3O", -1, 0), ("[CH3]", "CH3", 0, 1)],
)
def test_smiles(smiles: str, formula: str, charge: int, spin: int) -> None:
    pytest.importorskip("rdkit")
    (record,) = starting_geometries(smiles)
    assert (record.formula, record.charge, record.spin) == (formula, charge, spin)
    check_molecule(record)
    assert np.array_equal(record.positions, from_smiles(smiles, seed=0).positions)


def test_smiles_of_ethanol_has_its_bonds() -> None:
    pytest.importorskip("rdkit")
    (record,) = starting_geometries("CCO")
    carbon, other, oxygen = record.positions[:3] * BOHR
    assert np.linalg.norm(carbon - other) == pytest.approx(1.52, abs=0.03)
    assert np.linalg.norm(other - oxygen) == pytest.approx(1.42, abs=0.03)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [molecule("H2O"), molecule("CH4")])
    assert [record.formula for record in starting_geometries(str(path))] == ["H2O", "CH4"]


def test_what_may_be_two_things_is_refused() -> None:
    pytest.importorskip("rdkit")
    with pytest.raises(InputError, match="Write 'ase:CO' or 'smiles:CO'"):
        starting_geometries("CO")
    assert starting_geometries("ase:CO")[0].formula == "CO"
    assert starting_geometries("smiles:CO")[0].formula == "CH4O"


def test_what_stands_for_nothing_is_refused() -> None:
    pytest.importorskip("rdkit")
    with pytest.raises(InputError, match="no data file, no SMILES and no molecule"):
        starting_geometries("H2OO")
    with pytest.raises(InputError, match="no valid SMILES"):
        starting_geometries("smiles:C(")
    with pytest.raises(InputError, match="several molecules"):
        starting_geometries("C.C")
    with pytest.raises(InputError, match="ASE knows no molecule 'h2o'"):
        starting_geometries("ase:h2o")
