"""Energies and dipoles of a level without matrices, beside matrices of another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import InputError
from pydantic import ValidationError

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.models.training.metrics import read_metrics
from tests.models.phisnet.training.runs import MODEL, WATERS, tiny_settings

LOSS = {"hamiltonian": 0.0, "energy": 0.02, "dipole": 1.0, "density": 0.2}


@pytest.fixture(scope="module")
def high(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write energies and dipoles of another level, without matrices."""
    path, waters = tmp_path_factory.mktemp("high") / "high.db", read_dataset(WATERS)
    dipole = np.array([0.0, 0.0, 0.7])
    records = tuple(replace(r, matrices={}, forces=None, energy=r.energy - 0.1, dipole=dipole) for r in waters)  # type: ignore[operator]
    write_dataset(path, replace(waters, records=records, level="ccsd(t)/def2-svp", settings={}))
    return path


def _settings(output: Path, high: Path, **changes: Any) -> Any:
    chosen: dict[str, Any] = {"model": {**MODEL, "level": "ccsd(t)/def2-svp", "atomic_energies": False}, "loss": LOSS}
    return tiny_settings(output, **{"data": str(high), "matrices": WATERS, **chosen, **changes})


def test_matrices_of_another_level_are_learned_beside_energies(high: Path, tmp_path: Path) -> None:
    model = train(_settings(tmp_path / "run", high), progress=False)
    curve = read_metrics(tmp_path / "run" / "metrics")
    assert {"train/density", "train/energy", "train/dipole", "valid/dipole_e_Bohr"} <= curve.keys()
    config = ModelFolder.load(model).config
    assert config.training_data.source == f"matrices: {Path(WATERS).name}; energies: high.db"
    assert config.defaults == {"energy": "wavefunction"}


def test_dipoles_are_learned(high: Path, tmp_path: Path) -> None:
    optimiser = {"learning_rate": 0.03, "schedule": "constant", "ema_decay": 0.5, "warmup_steps": 1}
    loss = {"hamiltonian": 0.0, "dipole": 1.0}
    steps = {"steps": 12, "steps_per_epoch": 4, "optimiser": optimiser}
    train(_settings(tmp_path / "run", high, loss=loss, matrices=None, **steps), progress=False)
    errors = list(read_metrics(tmp_path / "run" / "metrics")["train/dipole"].values())
    assert errors[-1] < 0.9 * errors[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"matrices": None}, InputError, "the loss needs Hamiltonian matrices"),
        (
            {"loss": {"hamiltonian": 0.0, "energy": 1.0}},
            ValidationError,
            r"no term of the loss.*write loss.density=0.2",
        ),
        ({"model": {**MODEL, "energy_from": "atoms"}}, ValidationError, "write loss.dipole=0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    high: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(_settings(tmp_path / "run", high, **changes), progress=False)
