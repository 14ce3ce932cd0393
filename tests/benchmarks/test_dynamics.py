"""The dynamics benchmark, on springs whose energy is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError

from ase_mlwave.demo.dynamics import Trajectory
from benchmarks import dynamics
from tests.benchmarks.springs import PairSprings, ethanol


def prepared(**options: float) -> Atoms:
    atoms = ethanol()
    atoms.calc = PairSprings(atoms, **options)
    dynamics.prepare(atoms, temperature=300, seed=1)
    return atoms


def test_molecule_starts_hot_and_at_rest() -> None:
    atoms = prepared()
    run = dynamics.run_nve(atoms, steps=0, timestep=0.5)
    assert run.temperatures == pytest.approx([600])
    assert atoms.get_momenta().sum(0) == pytest.approx(np.zeros(3), abs=1e-10)
    assert atoms.get_angular_momentum() == pytest.approx(np.zeros(3), abs=1e-8)


def test_springs_keep_their_energy_and_half_of_it_is_kinetic() -> None:
    run = dynamics.run_nve(prepared(), steps=2000, timestep=0.5)
    figures = dynamics.figures(run)
    assert figures["ending"] == "complete"
    assert figures["length (ps)"] == pytest.approx(1)
    assert abs(figures["drift (meV / atom / ps)"]) < 0.05
    assert figures["mean temperature (K)"] == pytest.approx(300, rel=0.1)
    assert figures["highest temperature (K)"] == pytest.approx(600, rel=0.01)


def test_forces_that_belong_to_no_energy_are_found_as_drift() -> None:
    run = dynamics.run_nve(prepared(wind=1e-3), steps=1000, timestep=0.5)
    assert dynamics.figures(run)["drift (meV / atom / ps)"] > 1


def test_drift_and_fluctuation_about_the_line_by_hand() -> None:
    time = np.linspace(0, 10, 1001)
    ripple = 0.003 * np.sin(2 * np.pi * 25 * time)
    trajectory = Trajectory(time, potential=0.009 * 2 * time + ripple, kinetic=np.ones(1001), n_atoms=9)
    figures = dynamics.figures(dynamics.Run(trajectory, 1.0, "complete", np.zeros((2, 9, 3))))
    assert figures["drift (meV / atom / ps)"] == pytest.approx(2, abs=0.01)
    assert figures["the same about the line (meV / atom)"] == pytest.approx(3 / np.sqrt(2) / 9, rel=0.01)


@pytest.mark.parametrize(
    ("fault", "ending"), [(KeyboardInterrupt(), "interrupted"), (CalculationFailed("atoms collided"), "atoms collided")]
)
def test_what_was_done_before_the_end_is_kept(fault: BaseException, ending: str) -> None:
    atoms, steps = prepared(), iter(range(100))

    def progress() -> None:
        if next(steps) == 9:
            raise fault

    run = dynamics.run_nve(atoms, steps=100, timestep=0.5, progress=progress)
    assert run.ending == ending
    assert len(run.trajectory.time) == len(run.trajectory.total) == len(run.temperatures) == 10


def test_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamics, "_CHUNK", 7)
    straight = dynamics.run_nve(prepared(), steps=40, timestep=0.5)
    steps, seen = iter(range(100)), []

    def progress() -> None:
        if next(steps) == 17:
            raise KeyboardInterrupt

    def run(resume: bool, progress: Callable[[], object], seed: int = 1) -> dynamics.Run:
        checkpoint = dynamics.Checkpoint(tmp_path / "run.npz", {"seed": seed})
        return dynamics.run_nve(prepared(), 40, 0.5, progress, checkpoint, resume=resume)

    halves = run(False, progress)
    assert halves.ending == "interrupted"
    assert len(halves.trajectory.time) == 18
    whole = run(True, lambda: seen.append(None))
    assert whole.ending == "complete"
    assert len(seen) == len(whole.trajectory.time) == 41
    for name in ("time", "potential", "kinetic"):
        np.testing.assert_allclose(getattr(whole.trajectory, name), getattr(straight.trajectory, name), atol=1e-10)
    np.testing.assert_allclose(whole.temperatures, straight.temperatures, rtol=1e-9)
    with pytest.raises(InputError, match="other settings"):
        run(True, lambda: None, seed=2)


@pytest.mark.parametrize(("limit", "code"), [("1e3", None), ("1e-9", 1)])
def test_too_much_drift_is_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, code: int | None
) -> None:
    monkeypatch.setattr(dynamics, "load_calculator", lambda model, **_: PairSprings(ethanol()))
    words = ["dynamics", "springs", "--length", "0.02", "--max-drift", limit, "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with nullcontext() if code is None else pytest.raises(SystemExit) as ended:
        dynamics.main()
    assert code is None or ended.value.code == code


def test_run_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamics, "load_calculator", lambda model, **_: PairSprings(ethanol()))
    monkeypatch.setattr(sys, "argv", ["dynamics", "springs", "--length", "0.05", "--output", str(tmp_path)])
    dynamics.main()
    written = json.loads((tmp_path / "dynamics.json").read_text())
    assert written["models"]["springs"]["length (ps)"] == pytest.approx(0.05)
    assert (tmp_path / "springs.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_requests_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dynamics.main(["model", "--timestep", "0"])
    assert "--timestep: it was 0, and must be positive" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["dynamics", "phisnet-water", "--molecule", "nonsense"])
    with pytest.raises(SystemExit, match="neither a file nor a molecule"):
        dynamics.main()


def test_a_molecule_is_a_file_a_name_or_a_smiles(tmp_path: Path) -> None:
    path = tmp_path / "molecule.xyz"
    molecule("H2O").write(path)
    for name, formula in ((str(path), "H2O"), ("C2H6", "C2H6"), ("CC(=O)NC", "C3H7NO")):
        assert dynamics.structure(name).get_chemical_formula() == formula
