"""`QDFCalculator` with models of the published field: atomization energies, other outputs, what they lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.io import read, write
from typer.testing import CliRunner

from ase_mlwave import QDFCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.models.qdf.published.importing import import_published

FILES = Path(__file__).parents[1] / "models/qdf/published/files"
EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))


def folder(tmp_path: Path, name: str) -> str:
    imported = import_published(FILES / f"{name}.pth", FILES / "orbitaldict_3-21G.json")
    return str(imported.save(tmp_path / name))


@pytest.fixture
def calc(tmp_path: Path) -> QDFCalculator:
    return QDFCalculator(folder(tmp_path, "energy"))


def test_energy_is_the_atomization_energy_in_ev(calc: QDFCalculator) -> None:
    atoms = molecule("CH3OH")
    atoms.calc = calc
    wanted = EXPECTED["energy"]["CH3OH"]["eV"][0]
    assert atoms.get_potential_energy() == pytest.approx(wanted, abs=1e-9)
    assert calc.extras["outputs"]["atomization_energy"] == pytest.approx(wanted, abs=1e-9)
    assert calc.outputs(atoms) == {"atomization_energy": pytest.approx(wanted, abs=1e-9)}


def test_batch_equals_single(calc: QDFCalculator) -> None:
    batch = [molecule(name) for name in EXPECTED["energy"]]
    energies = [result["energy"] for result in calc.predict(batch, ["energy"])]
    np.testing.assert_allclose(energies, [one["eV"][0] for one in EXPECTED["energy"].values()], atol=1e-9)


def test_forces_are_refused_with_the_reason(calc: QDFCalculator) -> None:
    atoms = molecule("H2O")
    atoms.calc = calc
    with pytest.raises(PropertyNotImplementedError, match="has no usable forces: its energy has jumps"):
        atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="has no usable forces"):
        calc.predict([atoms])


def test_a_density_at_other_points_is_refused(calc: QDFCalculator) -> None:
    with pytest.raises(InputError, match="on its own points only"):
        calc.density(molecule("H2O"), [[0.0, 0.0, 0.0]])


def test_unknown_element_is_refused(calc: QDFCalculator) -> None:
    with pytest.raises(InputError, match="does not know Si"):
        calc.predict([molecule("SiH4")], ["energy"])


def test_levels_have_no_energy_but_outputs(tmp_path: Path) -> None:
    calc, atoms = QDFCalculator(folder(tmp_path, "levels")), molecule("HCN")
    wanted = EXPECTED["levels"]["HCN"]["eV"]
    assert calc.outputs(atoms) == {"homo": pytest.approx(wanted[0]), "lumo": pytest.approx(wanted[1])}
    atoms.calc = calc
    with pytest.raises(PropertyNotImplementedError, match=r"predicts homo, lumo.*calc\.outputs"):
        atoms.get_potential_energy()


def test_a_committee_gives_mean_and_spread(tmp_path: Path) -> None:
    one = folder(tmp_path, "energy")
    calc, atoms = QDFCalculator([one, one]), molecule("H2O")
    wanted = EXPECTED["energy"]["H2O"]["eV"][0]
    atoms.calc = calc
    assert atoms.get_potential_energy() == pytest.approx(wanted)
    assert calc.extras["energy_spread"] == pytest.approx(0, abs=1e-12)
    assert calc.outputs(atoms)["atomization_energy"] == pytest.approx(wanted)


def test_the_command_line_predicts_energies(tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", molecule("H2O"))
    arguments = ["predict", folder(tmp_path, "energy"), str(tmp_path / "water.xyz"), "--properties", "energy"]
    assert CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out.extxyz")]).exit_code == 0
    energy = read(tmp_path / "out.extxyz").get_potential_energy()
    assert energy == pytest.approx(EXPECTED["energy"]["H2O"]["eV"][0], abs=1e-6)


def test_there_are_no_energies_of_atoms(calc: QDFCalculator) -> None:
    with pytest.raises(PropertyNotImplementedError, match="no energies of atoms"):
        calc.get_potential_energies(molecule("CH3OH"))
