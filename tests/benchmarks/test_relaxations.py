"""Superposition, choice of molecules, the file of minima and the comparison with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import minimize_rotation_and_translation, molecule
from ase.calculators.calculator import InputError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS
from scipy.spatial.transform import Rotation

from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.splits import formula_split
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import LevelOfTheory
from benchmarks import relaxations
from benchmarks.relaxations import held_out
from benchmarks.superposition import rmsd
from tests.benchmarks.springs import PairSprings, ethanol


def placed(atoms: Atoms, seed: int = 0) -> Atoms:
    rotation = Rotation.random(random_state=np.random.default_rng(seed))
    return Atoms(atoms.numbers, rotation.apply(atoms.positions) + np.array([3, -2, 5]), info=atoms.info)


# --- superposition --------------------------------------------------------------------------------------------------


def test_rmsd_ignores_placement_and_methyl_turns() -> None:
    atoms = ethanol()
    heavy = np.flatnonzero(atoms.numbers > 1)
    nearest = heavy[atoms.get_all_distances()[:, heavy].argmin(1)]
    methyl = next(h for h in (np.flatnonzero((nearest == c) & (atoms.numbers == 1)) for c in heavy) if len(h) == 3)
    turned = placed(atoms)
    turned.positions[methyl] = turned.positions[np.roll(methyl, 1)]
    assert rmsd(turned, atoms) == pytest.approx((0, 0), abs=1e-6)


def test_rmsd_is_that_of_ase() -> None:
    atoms = ethanol()
    moved = placed(atoms)
    moved.positions += np.random.default_rng(1).normal(scale=0.05, size=moved.positions.shape)
    fitted = moved.copy()
    minimize_rotation_and_translation(atoms, fitted)
    expected = np.sqrt(((fitted.positions - atoms.positions) ** 2).sum(1).mean())
    assert rmsd(moved, atoms)[0] == pytest.approx(expected, abs=1e-6)
    assert 0 < rmsd(moved, atoms)[1] < 0.2


def test_a_mirror_image_is_another_molecule() -> None:
    atoms = molecule("CH3CH2OH")
    atoms.numbers[np.flatnonzero(atoms.numbers == 1)[:3]] = [9, 17, 35]
    mirrored = Atoms(atoms.numbers, atoms.positions * [1, 1, -1])
    assert rmsd(mirrored, atoms)[0] > 0.1


@pytest.mark.parametrize("name", ["H2", "C2H2", "H2O"])
def test_rmsd_of_straight_and_small_molecules(name: str) -> None:
    atoms = molecule(name)
    longer = placed(atoms)
    assert rmsd(longer, atoms)[0] == pytest.approx(0, abs=1e-6)
    longer.positions *= 1.01
    assert 0 < rmsd(longer, atoms)[0] < 0.02


def test_other_atoms_have_no_rmsd() -> None:
    with pytest.raises(ValueError, match="not the same atoms"):
        rmsd(molecule("H2O"), molecule("CO2"))


# --- references -----------------------------------------------------------------------------------------------------


def dataset_of(names: list[str], path: Path, **info: float) -> Path:
    records = tuple(record_from_atoms(molecule(name), **info) for name in names)
    write_dataset(path, Dataset(records, "", "test"))
    return path


def test_held_out_molecules_are_of_the_test_split_and_different(tmp_path: Path) -> None:
    names = ["C2H6", "CH4", "C2H2", "C2H6", "H2O", "SiH4"]
    first = dataset_of(names, tmp_path / "a.extxyz", temperature=0.0)
    hot = dataset_of(["C2H2"], tmp_path / "b.extxyz", temperature=300.0)
    chosen = held_out([first, hot], count=10)
    assert {r.formula for r in chosen} == {"C2H2", "C2H6"}
    assert len(chosen) == 2
    assert all(formula_split(r) == "test" for r in chosen)
    assert [len(r) for r in chosen] == [4, 8]
    assert len(held_out([first], count=1)) == 1
    assert not held_out([first], count=10, max_heavy=1)


def test_minima_are_computed_once_and_failures_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tblite")
    data, cache = dataset_of(["C2H2", "C2H6"], tmp_path / "a.extxyz"), tmp_path / "folder" / "minima.db"
    words = ["references", str(data), "--cache", str(cache), "--level", "gfn1-xtb"]
    monkeypatch.setattr(relaxations, "_FMAX", 1e-9)  # never reached
    monkeypatch.setattr(relaxations, "_STEPS", 2)
    relaxations.main(words)
    assert "C2H2: failed\nC2H6: failed" in capsys.readouterr().out
    with pytest.raises(InputError, match="Compute the minima first"):
        relaxations.read_minima(tmp_path / "minima.db")
    monkeypatch.undo()
    relaxations.main([*words[:-2], "--level", "gfn1-xtb", "--cache", str(tmp_path / "other.db")])
    level, minima = relaxations.read_minima(tmp_path / "other.db")
    assert (level, [str(atoms.symbols) for atoms in minima]) == ("gfn1-xtb", ["C2H2", "C2H6"])
    assert all(np.abs(atoms.get_forces()).max() < 0.01 for atoms in minima)
    assert read_dataset(tmp_path / "other.db").level == "gfn1-xtb"
    with pytest.raises(SystemExit, match="gfn1-xtb"):
        relaxations.main([*words[:-2], "--level", "gfn2-xtb", "--cache", str(tmp_path / "other.db")])


def test_a_hessian_to_start_with_leads_to_the_same_minimum_in_fewer_steps() -> None:
    pytest.importorskip("tblite")
    level = relaxations.tight(LevelOfTheory.parse("gfn1-xtb"))
    fast = level.label(record_from_atoms(ethanol()))
    level.hurry = False
    slow = level.label(record_from_atoms(ethanol()))
    assert rmsd(atoms_from_record(fast), atoms_from_record(slow))[0] < 0.02
    assert fast.energy == pytest.approx(slow.energy, abs=2e-5)
    assert fast.info["steps"] < slow.info["steps"]


# --- runs -----------------------------------------------------------------------------------------------------------


def test_relaxation_is_compared_with_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaxations, "FMAX", 0.001)
    minimum = ethanol()
    start = placed(minimum)
    start.positions += np.random.default_rng(2).normal(scale=0.05, size=start.positions.shape)
    before = start.positions.copy()
    result = relaxations.relax(PairSprings(minimum), start, minimum)
    assert result.converged
    assert result.all_atoms < 0.01 < 0.05 < result.start
    assert result.heavy_atoms < 0.01
    np.testing.assert_array_equal(start.positions, before)
    sooner = relaxations.relax(PairSprings(minimum), start, minimum, 0.1)
    assert sooner.steps < result.steps
    monkeypatch.setattr(relaxations, "STEPS", 2)
    hurried = relaxations.relax(PairSprings(minimum), start, minimum)
    assert not hurried.converged
    assert hurried.steps == 2


def test_a_first_hessian_saves_steps_of_a_model() -> None:
    pytest.importorskip("tblite")
    minimum = ethanol()
    minimum.calc = ReferenceCalculator("gfn1-xtb")
    BFGS(minimum, logfile=None).run(fmax=1e-3)
    start = relaxations.displaced(minimum, 300.0, seed=1)
    slow, fast = (relaxations.relax(minimum.calc, start, minimum, 0.01, hurry=hurry) for hurry in (False, True))
    assert fast.converged
    assert fast.steps < 0.7 * slow.steps
    assert fast.all_atoms < 0.03 < slow.start


def test_figures_count_what_converged_and_is_close() -> None:
    def one(converged: bool, whole: float, heavy: float) -> relaxations.Relaxation:
        return relaxations.Relaxation("CH4", "", 0.3, 9, converged, whole, heavy)

    figures = relaxations.summary([one(True, 0.01, 0.0), one(True, 0.2, 0.05), one(False, 0.01, 0.0), one(True, 1, 1)])
    assert figures["converged"] == 0.75
    assert figures["converged, all atoms within 0.1 A"] == 0.25
    assert figures["converged, all atoms within 0.02 A"] == 0.25
    assert figures["converged, heavy atoms within 0.02 A"] == 0.25
    assert figures["converged, heavy atoms within 0.1 A"] == 0.5
    assert figures["median deviation of all atoms (A)"] == pytest.approx(0.105)


def test_run_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite")
    cache, output = tmp_path / "minima.db", tmp_path / "results"
    relaxed = ethanol()
    relaxed.calc = SinglePointCalculator(relaxed, energy=-7.0, forces=np.zeros((9, 3)))
    DatasetFile.create(cache, "pbe/def2-svp").add([record_from_atoms(relaxed)])
    monkeypatch.setattr(relaxations, "FMAX", 0.001)
    monkeypatch.setattr(relaxations, "load_calculator", lambda model, **_: PairSprings(ethanol()))
    monkeypatch.setattr(
        sys,
        "argv",
        ["relaxations", "run", "springs", "--cache", str(cache), "--output", str(output)],
    )
    relaxations.main()
    written = json.loads((output / "relaxations.json").read_text())
    (result,) = written["models"]["springs"]["molecules"]
    assert result["start"] > 0.05
    assert result["all_atoms"] < 0.01
    assert result["seconds"] > 0
    assert written["reference"] == "pbe/def2-svp"

    def again(*_: object) -> None:
        raise AssertionError("a molecule was relaxed again")

    monkeypatch.setattr(relaxations, "relax", again)
    relaxations.main()
    assert json.loads((output / "relaxations.json").read_text()) == written


def test_nothing_held_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset_of(["CH4"], tmp_path / "a.extxyz")
    arguments = ["references", str(data), "--cache", str(tmp_path / "minima.db")]
    monkeypatch.setattr(sys, "argv", ["relaxations", *arguments])
    with pytest.raises(SystemExit, match="is held out under these conditions"):
        relaxations.main()


@pytest.mark.parametrize("name", ["C2H2", "CH3CH2OH"])
def test_displacements_have_the_energy_of_their_temperature(name: str) -> None:
    pytest.importorskip("tblite")
    minimum = molecule(name)
    minimum.calc = ReferenceCalculator("gfn2-xtb")
    BFGS(minimum, logfile=None).run(fmax=0.001, steps=200)
    energies, angular = [], []
    for seed in range(12):
        moved = relaxations.displaced(minimum, temperature=100, seed=seed)
        change = moved.positions - minimum.positions
        angular.append(np.cross(minimum.positions - minimum.positions.mean(0), change).sum(0))
        moved.calc = minimum.calc
        energies.append(moved.get_potential_energy())
    n_vibrations = 3 * len(minimum) - (5 if name == "C2H2" else 6)
    above = np.mean(energies) - minimum.get_potential_energy()
    assert above == pytest.approx(n_vibrations * units.kB * 100 / 2, rel=0.4)  # softer modes move less
    np.testing.assert_allclose(angular, 0, atol=0.01)
    again = relaxations.displaced(minimum, temperature=100, seed=11)
    np.testing.assert_array_equal(again.positions, moved.positions)
