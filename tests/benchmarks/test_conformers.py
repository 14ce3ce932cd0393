"""Errors of conformers: about the mean, on the same conformers for all methods, kept from run to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule

from ase_mlwave import PhiSNetCalculator
from benchmarks import conformers
from benchmarks.conformer_set import Conformers
from tests.benchmarks.test_cycles import conformer_file
from tests.calculators.waters import waters


def test_a_constant_is_no_error_and_deviations_count_about_the_mean() -> None:
    reference = np.array([0.0, 1.0, 3.0])
    assert conformers.about_mean(reference + 7.0, reference) == pytest.approx(0)
    assert conformers.about_mean(reference + np.array([0.0, 0.0, 3.0]), reference) == pytest.approx(4 / 3)


def test_one_command_compares_a_model_and_a_second_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = waters(3), waters(5)[3:]
    data = conformer_file(tmp_path / "set.npz", [first, second, [molecule("H2O")]])
    words = ["phisnet-water", "--energy", "wavefunction", "--data", str(data), "--output", str(tmp_path)]
    rows = conformers.main(words)
    assert [row[:2] for row in rows[1:3]] == [["phisnet-water, wavefunction", "2"], ["dlpno-ccsd(t)", "2"]]
    calculator = PhiSNetCalculator("phisnet-water", energy="wavefunction")
    errors = []
    for start, some in ((0, first), (3, second)):
        energies = np.array([calculator.get_potential_energy(atoms) for atoms in some]) * units.mol / units.kcal
        error = energies - (start + np.arange(len(some))) * units.Hartree * units.mol / units.kcal
        errors.append(np.abs(error - error.mean()).mean())
    assert float(rows[1][2]) == pytest.approx(np.mean(errors), abs=1e-2)
    assert float(rows[2][2]) == 0  # counts up as the reference does, in the same unit
    assert "5 conformers of 2 molecules" in (tmp_path / "conformers.md").read_text()

    def again(*_: Any) -> None:
        raise AssertionError("an energy was computed again")

    monkeypatch.setattr(conformers, "energy", again)
    assert conformers.main(words) == rows


def test_errors_are_averaged_by_size() -> None:
    """A molecule without energies counts in its bin, and in no mean."""
    sizes = {"a": 20, "b": 21, "c": 30, "d": 55}
    some = [Conformers(name, (Atoms(f"H{n}"),), {}) for name, n in sizes.items()]
    rows = conformers.by_size(some[::-1], {"model": {"errors": {"a": 1.0, "b": 2.0, "c": 4.0}}})
    assert rows == [
        ["atoms", "molecules", "model"],
        ["11 to 20", "1", "1.00"],
        ["21 to 30", "2", "3.00"],
        ["51 to 60", "1", "-"],
    ]


def test_what_fails_is_counted(tmp_path: Path) -> None:
    pair = [molecule("C2H6"), molecule("C2H6")]
    data = conformer_file(tmp_path / "set.npz", [pair])
    rows = conformers.main(["phisnet-water", "--data", str(data), "--output", str(tmp_path)])
    assert rows[1] == ["phisnet-water", "0", "-", "-", "-", "2", "-"]
