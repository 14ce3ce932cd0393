"""The benchmark of stresses: how they are divided, and that what is not a cell is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk

pytest.importorskip("tblite")

from benchmarks import amons_stress
from benchmarks.amons import builders


def test_stress_is_divided_into_its_mean_and_the_rest() -> None:
    found = amons_stress.parts(np.array([5.0, 2.0, 2.0, 0.5, 0.0, -1.0]) * units.GPa)
    assert list(found.values()) == pytest.approx([3.0, 2.0, -1.0, -1.0, 0.5, 0.0, -1.0])


def test_reference_is_the_derivative_of_its_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (builders, amons_stress):
        monkeypatch.setattr(module, "SUPERCELL", (1, 1, 1))
    cell = bulk("Si", "diamond", a=5.43, cubic=True)

    def energy(strain: float) -> float:
        strained = cell.copy()
        strained.set_cell(cell.cell[:] * [1 + strain, 1, 1], scale_atoms=True)
        return builders.supercell_energy(strained) * units.Hartree

    slope = (energy(1e-3) - energy(-1e-3)) / 2e-3 / cell.get_volume()
    assert amons_stress.reference_stress(cell)[0] == pytest.approx(slope, rel=1e-3)


def test_unknown_cell_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        amons_stress.main(["--output", str(tmp_path / "out"), "bent"])
    assert "'bent' is none of the cells" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tiny_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amons_stress, "reference_stress", lambda cubic: np.zeros(6))
    amons_stress.main(["expanded 2 %", "--max-heavy", "3", "--output", str(tmp_path)])
    learned = json.loads((tmp_path / "stress.json").read_text())["expanded 2 %"]["amons"]
    assert abs(learned.pop("mean")) > 1e-3
    assert list(learned.values()) == pytest.approx([0] * 6, abs=1e-6)  # cubic
