from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed
from ase.io import Trajectory, read, write
from typer.testing import CliRunner

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.cli.main import app
from ase_mlwave.data.database import write_database
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.units import BOHR, HARTREE
from tests.calculators.morse import MorseCalculator, morse_folder


@pytest.fixture
def waters(tmp_path: Path) -> Path:
    images = [molecule("H2O"), molecule("H2O2"), molecule("H2O")]
    for seed, atoms in enumerate(images):
        atoms.rattle(0.05, seed=seed)
        atoms.info["name"] = f"number {seed}"
    write(tmp_path / "waters.xyz", images, format="extxyz")
    return tmp_path / "waters.xyz"


def _invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    return result.exit_code, result.output


def test_predictions_are_those_of_the_calculator(morse_zoo: Path, waters: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.extxyz"
    code, output = _invoke("morse", waters, "-o", out, "--properties", "energy,forces,dipole")
    assert code == 0, output
    assert "3 structures" in output
    images = read(out, ":")
    expected = load_calculator("morse").predict(read(waters, ":"), ["energy", "forces", "dipole"])
    for index, (atoms, one) in enumerate(zip(images, expected, strict=True)):
        assert atoms.info["name"] == f"number {index}"
        assert atoms.get_potential_energy() == pytest.approx(one["energy"], abs=1e-7)
        np.testing.assert_allclose(atoms.get_forces(), one["forces"], atol=1e-7)
        np.testing.assert_allclose(atoms.get_dipole_moment(), one["dipole"], atol=1e-7)


def test_output_lies_beside_the_input(morse_zoo: Path, waters: Path) -> None:
    assert _invoke("morse", waters)[0] == 0
    assert len(read(waters.parent / "waters.predicted.extxyz", ":")) == 3


def test_level_of_the_energies_is_told_where_there_are_several(tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", molecule("H2O"))
    code, output = _invoke("phisnet-water", tmp_path / "water.xyz")
    assert code == 0, output
    assert "s, energy='wavefunction')" in output


def test_extras_are_written_as_the_calculator_has_them(tmp_path: Path) -> None:
    stale = molecule("H2O", info={"gap": -1.0, "novelty": 3.0})
    write(tmp_path / "water.traj", stale)
    out = tmp_path / "out.extxyz"
    code, output = _invoke("phisnet-water", tmp_path / "water.traj", "-o", out)
    assert code == 0, output
    found = read(out)
    calc = load_calculator("phisnet-water")
    (expected,) = calc.predict_outcomes([molecule("H2O")], ["energy", "forces", "dipole", "charges"])
    assert found.calc.results.keys() == {"energy", "forces", "dipole", "charges"}
    np.testing.assert_allclose(found.get_charges(), expected.values["charges"], atol=1e-7)
    assert found.info == pytest.approx({name: expected.extras[name] for name in ("homo", "lumo", "gap")}, abs=1e-7)
    np.testing.assert_allclose(found.arrays["domain_distance"], expected.extras["domain_distance"], atol=1e-7)


def test_what_is_asked_for_is_written_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", molecule("H2O"))
    out = tmp_path / "out.xyz"
    code, output = _invoke("phisnet-water", tmp_path / "water.xyz", "-o", out, "--properties", "gap,orbital_energies")
    assert (code, "warning" in output) == (0, False), output
    found = read(out, format="extxyz")
    energies = found.info["orbital_energies"]
    assert found.info.keys() == {"gap", "orbital_energies"}
    assert found.info["gap"] == pytest.approx((energies[5] - energies[4]) * HARTREE)
    assert found.calc is None
    code, output = _invoke("phisnet-water", tmp_path / "water.xyz", "-o", out, "--properties", "energy, novelty")
    assert (code, "warning: the model gave no novelty" in output) == (0, True), output
    assert read(out, format="extxyz").calc.results.keys() == {"energy"}


def test_options_reach_the_calculator(morse_zoo: Path, waters: Path) -> None:
    out = waters.parent / "out.extxyz"
    energies = []
    for scale in ("1", "2.5"):
        assert _invoke("morse", waters, "-o", out, "--set", f"scale={scale}")[0] == 0
        energies.append(read(out).get_potential_energy())
    assert energies[1] == pytest.approx(2.5 * energies[0], abs=1e-6)


def test_models_joined_by_commas_are_a_committee_and_write_its_spreads(morse_zoo: Path, waters: Path) -> None:
    morse_folder(0.155).save(morse_zoo / "deep")

    morse_folder(0.152).save(morse_zoo / "deep")
    out = waters.parent / "out.extxyz"
    code, output = _invoke("morse, deep", waters, "-o", out)
    assert code == 0, output
    one, other = (load_calculator(name).predict(read(waters, ":")) for name in ("morse", "deep"))
    for atoms, a, b in zip(read(out, ":"), one, other, strict=True):
        assert atoms.get_potential_energy() == pytest.approx((a["energy"] + b["energy"]) / 2, abs=1e-6)
        assert atoms.info["energy_spread"] == pytest.approx(abs(a["energy"] - b["energy"]) / np.sqrt(2), abs=1e-6)
        spread = np.linalg.norm(a["forces"] - b["forces"], axis=1) / np.sqrt(2)
        np.testing.assert_allclose(atoms.arrays["forces_spread"], spread, atol=1e-6)
    assert _invoke("morse", out, "-o", waters.parent / "single.extxyz")[0] == 0
    single = read(waters.parent / "single.extxyz")
    assert "energy_spread" not in single.info
    assert "forces_spread" not in single.arrays


def test_bad_input_is_refused(morse_zoo: Path, waters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "xenon.xyz", [molecule("H2O"), Atoms("Xe")])
    (tmp_path / "broken.xyz").write_text("3\n\nH 0 0\n")
    (tmp_path / "labels.xyz").write_text("1\n\nH1 0 0 0\n")
    (tmp_path / "what.ever").write_text("nothing")
    (tmp_path / "folder.xyz").mkdir()
    Trajectory(tmp_path / "none.traj", "w").close()
    monkeypatch.setattr(MlwaveCalculator, "_evaluate", lambda *_, **__: pytest.fail("this is work"))
    for arguments, message in (
        (("morse", tmp_path / "absent.xyz"), "there is no file"),
        (("morse", tmp_path / "broken.xyz"), "cannot read structures"),
        (("morse", tmp_path / "labels.xyz"), "'H1' is not the symbol of an element"),
        (("morse", tmp_path / "what.ever"), "cannot read structures"),
        (("morse", tmp_path / "xenon.xyz"), "structure 1: the model does not know Xe"),
        (("morse", tmp_path), "is a folder; give a file"),
        (("morse", tmp_path / "none.traj"), "holds no structure"),
        (("morse", waters, "-o", waters), "overwrite the input"),
        (("morse", waters, "-o", waters / "out.xyz"), f"there can be no folder {waters}: {waters} is a file"),
        (("morse", waters, "-o", tmp_path / "folder.xyz"), "folder.xyz is a folder"),
        (("morse", waters, "--properties", " , "), "--properties names nothing"),
        (("morse", waters, "-o", tmp_path / "out.db"), "let its name end in .extxyz or .xyz"),
        (("morse", waters, "--properties", "energy,force"), "Did you mean 'forces'"),
        (("morse", waters, "--properties", "overlap"), "take calc.overlap(atoms) in Python"),
        (("morse", waters, "--properties", "amons"), "take calc.extras['amons'] in Python"),
        (("morse", waters, "--set", "scale"), "NAME=VALUE"),
        (("morse", waters, "--batch-size", "0"), "at least 1"),
        (("mors", waters), "Did you mean 'morse'"),
        (("morse,", waters), "there is no model ''"),
    ):
        code, output = _invoke(*arguments)
        assert (code, message in output) == (2, True), output
    assert not (tmp_path / "xenon.predicted.extxyz").exists()


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (CalculationFailed("no convergence"), 2)])
def test_what_was_computed_before_an_interrupt_or_a_failure_is_kept(
    morse_zoo: Path, waters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    (tmp_path / "out.extxyz").write_text("of another day")
    compute, asked = MorseCalculator._compute, []

    def third_fails(calc: MorseCalculator, *given: Any) -> list[Outcome]:
        asked.append(given)
        if len(asked) == 3:
            raise error
        return compute(calc, *given)

    with monkeypatch.context() as context:
        context.setattr(MorseCalculator, "_compute", third_fails)
        code, output = _invoke("morse", waters, "-o", tmp_path / "out.extxyz", "--batch-size", "1")
    assert (code, "the first 2 of 3 structures -> " in output) == (status, True), output
    assert (tmp_path / "out.extxyz").read_text() == "of another day"
    kept = read(tmp_path / "out.partial.extxyz", ":")
    expected = load_calculator("morse").predict(read(waters, ":2"))
    assert [atoms.get_potential_energy() for atoms in kept] == pytest.approx([one["energy"] for one in expected])
    assert [atoms.info["name"] for atoms in kept] == ["number 0", "number 1"]


def test_clashing_entries_are_refused_before_any_work(
    morse_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [molecule("H2O"), molecule("H2O", info={"energy": -76.4})]
    write(tmp_path / "in.traj", images)
    monkeypatch.setattr(MlwaveCalculator, "predict_outcomes", lambda *_, **__: pytest.fail("this is work"))
    code, output = _invoke("morse", tmp_path / "in.traj", "-o", tmp_path / "out.extxyz")
    assert code == 2
    assert "in.traj: 2 structures, no results of their own" in output
    assert "structure 1: there is an entry or array 'energy' beside the result of that name" in output
    assert not (tmp_path / "out.extxyz").exists()


def test_charges_of_a_database_are_not_forgotten(morse_zoo: Path, tmp_path: Path) -> None:
    water = molecule("H2O")
    given = {"numbers": water.numbers, "positions": water.positions / BOHR}
    records = (Record(**given, energy=-76.0, info={"status": "x"}), Record(**given, charge=-2, energy=-75.0))
    write_database(tmp_path / "ions.db", Dataset(records, "pbe/def2-svp", "here"))
    code, output = _invoke("morse", tmp_path / "ions.db")
    assert code == 2
    assert "structure 1: atoms.info['charge'] is -2, but the model was made for charge 0" in output


def test_unknown_option_names_the_nearest(morse_zoo: Path, waters: Path) -> None:
    code, output = _invoke("morse", waters, "--set", "scal=1")
    assert code == 2, output
    assert "Did you mean 'scale'" in output


def test_structures_outside_the_domain_are_marked_and_the_others_kept(morse_kind: None, waters: Path) -> None:
    folder = morse_folder(thresholds={"n_pairs": 2.0}, limits={"n_pairs": 5.0}).save(waters.parent / "narrow")
    out = waters.parent / "out.extxyz"
    code, output = _invoke(folder, waters, "-o", out)
    assert code == 1
    assert "2 of 3 structures are unlike the training data" in output
    assert "1 of 3 structures (1) are unlike anything" in output
    first, second, _ = read(out, ":")
    assert first.info["out_of_domain"] == "doubtful"
    assert first.get_potential_energy() < 0
    assert second.info["out_of_domain"] == "refused"
    assert second.calc is None
    assert second.info.keys() == {"name", "out_of_domain"}
    code, output = _invoke(folder, waters, "-o", out, "--set", "outside=warn")
    assert code == 0, output
    assert [atoms.info["out_of_domain"] for atoms in read(out, ":")] == ["doubtful"] * 3


@pytest.mark.gpu
def test_a_gpu_gives_the_energies_of_the_cpu(tmp_path: Path) -> None:
    known = [molecule(name) for name in ("CH3OH", "CH3CH2OH", "CH3CN")]
    for seed, atoms in enumerate(known):
        atoms.rattle(0.05, seed=seed)
    write(tmp_path / "known.xyz", known, format="extxyz")
    energies = []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.extxyz"
        code, output = _invoke("qdf-chno", tmp_path / "known.xyz", "-o", out, "--device", device)
        assert code == 0, output
        energies.append([atoms.get_potential_energy() for atoms in read(out, ":")])
    assert energies[1] == pytest.approx(energies[0], abs=1e-6)
