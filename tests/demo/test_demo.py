"""The parts of the demonstration, small, and (slow) the whole of it from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.harmonic import HarmonicCalculator, HarmonicForceField
from pyscf.scf import hf

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.demo import run as demo
from ase_mlwave.demo.dynamics import Trajectory, distorted_water, run_nve
from ase_mlwave.demo.relaxation import bond_error, distance_between, relax
from ase_mlwave.demo.warm_start import warm_start
from ase_mlwave.evaluation.matrices import CycleCounts, count_cycles
from ase_mlwave.plotting.demo import draw_cycles, draw_orbitals, draw_relaxations, draw_trajectory

MODEL = "phisnet-water"

# PySCF's own guess "atom" uses a function that PySCF has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:remove_linear_dep_:DeprecationWarning")


@pytest.fixture(autouse=True)
def _no_checkpoint_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "MUTE_CHKFILE", True)


MINIMUM = Atoms("OH2", [(0.0, 0.0, 0.0), (0.97, 0.0, 0.0), (-0.25, 0.93, 0.0)])


def _springs() -> HarmonicCalculator:
    """Return springs around a water of known shape, in place of a molecule's energy."""
    return HarmonicCalculator(HarmonicForceField(ref_atoms=MINIMUM, hessian_x=30 * np.eye(9), ref_energy=-5.0))


def _is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_relaxation_finds_the_minimum_of_its_calculator() -> None:
    steps: list[int] = []
    result = relax("springs", _springs(), distorted_water(), fmax=1e-3, progress=steps.append)
    assert distance_between(result.atoms, MINIMUM) < 1e-3
    assert bond_error(result.atoms, MINIMUM) < 1e-3
    assert result.energies[-1] == pytest.approx(-5, abs=1e-5)
    assert steps == list(range(len(result.energies)))
    assert result.seconds > 0
    assert result.atoms.calc is None


def test_distance_does_not_see_where_a_molecule_lies() -> None:
    water = distorted_water()
    moved = water.copy()
    moved.rotate(70, (1, 2, 3))
    moved.translate((1, 2, 3))
    assert distance_between(moved, water) == pytest.approx(0, abs=1e-9)
    moved.set_distance(0, 1, moved.get_distance(0, 1) + 0.1, fix=0)
    assert bond_error(moved, water) == pytest.approx(0.1)
    assert 0 < distance_between(moved, water) < 0.1


def test_warm_start_ends_in_the_same_state_sooner() -> None:
    record = record_from_atoms(demo.held_out_waters()[0])
    run = warm_start(PhiSNetCalculator(MODEL), record)
    assert run.cycles[1] < run.cycles[0]
    assert run.difference < 1e-8
    assert run.mean_field.converged
    assert min(run.seconds) > 0


def test_trajectory_keeps_its_energy_and_says_how_well() -> None:
    run = run_nve(_springs(), steps=40, timestep_fs=0.25, seed=1)
    assert run.time[-1] == pytest.approx(0.01)
    assert len(run.time) == len(run.potential) == len(run.kinetic) == 41
    assert run.fluctuation < 1e3 * 0.02 * np.ptp(run.potential)
    again = run_nve(_springs(), steps=40, timestep_fs=0.25, seed=1)
    np.testing.assert_array_equal(run.total, again.total)


def test_drift_is_the_slope_per_atom() -> None:
    time = np.linspace(0, 2, 50)
    run = Trajectory(time, potential=3e-3 * time, kinetic=np.ones(50), n_atoms=3)
    assert run.drift == pytest.approx(1.0)
    assert Trajectory(time, potential=np.zeros(50), kinetic=np.ones(50), n_atoms=3).fluctuation == pytest.approx(0)


def test_held_out_waters_are_labelled_and_differ() -> None:
    waters = demo.held_out_waters()
    assert len(waters) >= 20
    assert all(sorted(atoms.symbols) == ["H", "H", "O"] for atoms in waters)
    energies = [atoms.get_potential_energy() for atoms in waters]
    assert len({round(e, 6) for e in energies}) == len(waters)
    assert all(np.isfinite(atoms.get_forces()).all() for atoms in waters)


def test_cycles_are_counted_as_pyscf_counts_them() -> None:
    calculator = PhiSNetCalculator(MODEL)
    records = [record_from_atoms(atoms) for atoms in demo.held_out_waters()[:2]]
    done: list[int] = []
    counts = count_cycles(calculator, records, guesses=("minao", "1e"), progress=done.append)
    assert done == [1, 1]
    assert counts.by_guess.keys() == {"model", "minao", "1e"}
    assert all(m < d <= o for m, d, o in zip(*(counts.by_guess[g] for g in ("model", "minao", "1e")), strict=True))
    assert 7 <= counts.by_guess["minao"][0] <= 11


def test_summary_of_cycles_counts_the_worse_cases() -> None:
    summary = CycleCounts({"model": [3, 9, 4], "minao": [8, 8, 8]}).summary()
    assert summary["scf_cycles_model_mean"] == pytest.approx(16 / 3)
    assert summary["scf_cycles_minao_mean"] == 8
    assert summary["scf_cycles_model_max"] == 9
    assert summary["scf_worse_than_default"] == 1


def test_pictures_are_drawn(tmp_path: Path) -> None:
    draw_relaxations({"one": [0.5, -0.9, -1.0], "other": [0.5, -1.0]}, tmp_path / "relaxation.png")
    time = np.linspace(0, 1, 20)
    draw_trajectory(time, np.sin(time), np.cos(time), tmp_path / "dynamics.png")
    draw_cycles({"water": (8, 4), "ethanol": (10, 7)}, tmp_path / "cycles.png")
    levels = {"model": np.linspace(-20, 5, 12), "PBE": np.linspace(-21, 6, 12)}
    orbital = lambda index, points: np.exp(-(points**2).sum(axis=1))  # noqa: E731
    draw_orbitals(distorted_water(), orbital, levels, np.array([-0.4, 0.2, 0.2]), tmp_path / "orbitals.png")
    assert all(_is_png(tmp_path / f"{name}.png") for name in ("relaxation", "dynamics", "cycles", "orbitals"))


def test_sections_have_a_row_per_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All sections with water in place of the molecule, one distorted water, few steps, and springs to relax with."""
    monkeypatch.setattr(demo, "_NVE_STEPS", 4)
    monkeypatch.setattr(demo, "_N_WATERS", 1)
    monkeypatch.setattr(demo, "_UNSEEN", {})
    monkeypatch.setattr(demo, "relax", lambda name, _, start, progress: relax(name, _springs(), start))
    seen: list[tuple[str, int, int | None]] = []
    sections = demo.run_demo("O", MODEL, tmp_path, lambda *state: seen.append(state))
    assert [len(section.rows) for section in sections] == [3, 6, 2, 1]
    for section in sections:
        assert all(len(row) == len(section.columns) for row in section.rows)
        assert _is_png(tmp_path / section.picture)
    assert {state[0] for state in seen} >= {"SCF from both guesses", "dynamics", f"relaxation: {MODEL}, functional"}
    for what in {state[0] for state in seen}:
        last = [state for state in seen if state[0] == what][-1]
        assert last[1] == last[2]


@pytest.mark.slow
def test_demonstration_shows_what_the_models_promise(tmp_path: Path) -> None:
    sections = demo.run_demo("CCO", "phisnet-chno", tmp_path, lambda *_: None)
    relaxations, orbitals, cycles, dynamics = (
        [dict(zip(s.columns, row, strict=True)) for row in s.rows] for s in sections
    )
    start, mine, _ = (float(row["largest error of a bond (A)"]) for row in relaxations)
    assert mine < 0.01 < start
    assert abs(float(next(row for row in orbitals if row["quantity"] == "gap (eV)")["error"])) < 0.3
    assert all(float(row["difference (Hartree)"]) < 1e-7 for row in cycles)
    assert sum(int(row["warm"]) for row in cycles) < 0.8 * sum(int(row["cycles"]) for row in cycles)
    assert abs(float(dynamics[0]["drift (meV / atom / ps)"])) < 1
