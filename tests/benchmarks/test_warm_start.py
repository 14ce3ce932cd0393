"""The benchmark of warm starts: it counts every cost, and finds a guess that leads elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import warm_start
from benchmarks.warm_start import Result, Run
from tests.calculators.waters import shipped


def test_one_command_prints_a_table_without_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "runs"
    levels = ["RHF/STO-3G", "UHF/def2-SVP"]
    runs = warm_start.main(["--waters", "12", "--levels", *levels, "--output", str(output)])
    assert len(runs) == 24
    assert any(run.cold for run in runs)
    assert any(run.cold is None for run in runs)
    assert not any(run.slower or run.other_state for run in runs)
    assert "another state" in capsys.readouterr().out
    assert (output / "warm_start.json").read_text().count("builds") == 24


def test_fock_matrices_of_a_guess_are_counted() -> None:
    class Careless:
        def initial_guess(self, mean_field: Any) -> np.ndarray:
            guess = mean_field.get_init_guess()
            mean_field.get_veff(mean_field.mol, guess)
            return guess

    run = warm_start.compare(Careless(), warm_start.waters(1)[0], 0, "RHF/STO-3G")  # type: ignore[arg-type]
    assert (run.builds, run.cold, run.slower) == (1, None, True)
    run = warm_start.compare(shipped(), warm_start.waters(1)[0], 0, "RHF/STO-3G")
    assert run.builds == 0


def test_costs_and_states_are_compared() -> None:
    cold = Result(cycles=8, energy=-76.0, spin_square=0.0, converged=True)
    run = Run(0, "RHF/STO-3G", 1, cold, replace(cold, cycles=7))
    assert not run.slower
    assert replace(run, builds=2).slower
    assert not run.other_state
    assert replace(run, warm=replace(cold, energy=-75.9)).other_state
    assert replace(run, warm=replace(cold, spin_square=1.0)).other_state
    assert replace(run, warm=replace(cold, converged=False)).other_state
