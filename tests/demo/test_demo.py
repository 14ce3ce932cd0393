"""The parts of the demonstration, small, and (slow) the whole of it from the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.harmonic import HarmonicCalculator, HarmonicForceField
from pyscf.scf import hf

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.demo import run as demo
from ase_mlwave.demo.dynamics import Trajectory, run_nve
from ase_mlwave.demo.relaxation import Relaxation, relax
from ase_mlwave.evaluation.matrices import CycleCounts, count_cycles
from ase_mlwave.plotting.demo import draw_cycles, draw_relaxations, draw_trajectory

MODEL = "phisnet-water"

# PySCF's own guess "atom" uses a function that PySCF has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:remove_linear_dep_:DeprecationWarning")


@pytest.fixture(autouse=True)
def _no_checkpoint_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "MUTE_CHKFILE", True)


def _springs() -> HarmonicCalculator:
    """Return springs around a water of known shape, in place of a molecule's energy."""
    minimum = Atoms("OH2", [(0.0, 0.0, 0.0), (0.97, 0.0, 0.0), (-0.25, 0.93, 0.0)])
    return HarmonicCalculator(HarmonicForceField(ref_atoms=minimum, hessian_x=30 * np.eye(9), ref_energy=-5.0))


def _is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_relaxation_finds_the_minimum_of_its_calculator() -> None:
    result = relax("springs", _springs())
    assert result.bond == pytest.approx(np.mean([0.97, np.hypot(0.25, 0.93)]), abs=1e-3)
    assert result.angle == pytest.approx(np.degrees(np.arctan2(0.93, -0.25)), abs=0.1)
    assert result.energy == pytest.approx(-5, abs=1e-5)
    assert result.energies[0] > result.energies[-1] == result.energy
    assert result.seconds > 0


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
    relaxations = [Relaxation(name, 0.97, 104.0, -1.0, 2.0, [0.5, -0.9, -1.0]) for name in ("one", "other")]
    draw_relaxations({one.name: one.energies for one in relaxations}, tmp_path / "relaxation.png")
    time = np.linspace(0, 1, 20)
    draw_trajectory(time, np.sin(time), np.cos(time), tmp_path / "dynamics.png")
    draw_cycles({"model": [3, 4, 4], "minao": [8, 9, 8]}, tmp_path / "cycles.png")
    assert all(_is_png(tmp_path / f"{name}.png") for name in ("relaxation", "dynamics", "cycles"))


def test_sections_have_a_row_per_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three sections, with two waters, few steps, and springs in place of every calculator of the relaxation."""
    waters = demo.held_out_waters()[:2]
    monkeypatch.setattr(demo, "_NVE_STEPS", 4)
    monkeypatch.setattr(demo, "held_out_waters", lambda: waters)
    relax_once = relax("springs", _springs())
    monkeypatch.setattr(demo, "relax", lambda name, way: Relaxation(name, *_fields(relax_once)))
    seen: list[tuple[str, int, int]] = []
    sections = demo.run_demo(MODEL, tmp_path, lambda *state: seen.append(state))
    assert [len(section.rows) for section in sections] == [4, 1, 5]
    for section in sections:
        assert all(len(row) == len(section.columns) for row in section.rows)
        assert _is_png(tmp_path / section.picture)
    for what in ("relaxation", "dynamics", "SCF cycles"):
        last = [state for state in seen if state[0] == what][-1]
        assert last[1] == last[2]


def _fields(relaxation: Relaxation) -> tuple[Any, ...]:
    return relaxation.bond, relaxation.angle, relaxation.energy, relaxation.seconds, relaxation.energies


@pytest.mark.slow
def test_demonstration_shows_what_the_model_promises(tmp_path: Path) -> None:
    sections = demo.run_demo(MODEL, tmp_path, lambda *_: None)
    relaxations, dynamics, cycles = ([dict(zip(s.columns, row, strict=True)) for row in s.rows] for s in sections)
    reference = relaxations[-1]
    for row in relaxations[:-1]:
        assert float(row["O-H (A)"]) == pytest.approx(float(reference["O-H (A)"]), abs=0.005)
        assert float(row["H-O-H (deg)"]) == pytest.approx(float(reference["H-O-H (deg)"]), abs=0.3)
    assert abs(float(dynamics[0]["drift (meV / atom / ps)"])) < 1
    means = {row["initial guess"]: float(row["mean"]) for row in cycles}
    assert means["model"] <= 0.6 * means["minao"]
    assert re.fullmatch(r"\d+", cycles[0]["most"])
