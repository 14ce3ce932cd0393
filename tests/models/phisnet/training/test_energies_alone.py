"""Training of energies alone leaves matrices, and what follows from them, as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ase.calculators.calculator import InputError
from pydantic import ValidationError

from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.models.phisnet.training.settings import TrainingSettings
from ase_mlwave.models.training.metrics import read_metrics
from tests.models.phisnet.training.runs import MODEL, WATERS, tiny_settings

ENERGIES: dict[str, Any] = {
    "train_only": "energies",
    "model": {**MODEL, "energy_from": "atoms"},
    "loss": {"hamiltonian": 0, "energy": 1.0, "forces": 1.0},
    "optimiser": {"learning_rate": 1e-2, "weight_decay": 0.1},
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a model that learned matrices."""
    return train(tiny_settings(tmp_path_factory.mktemp("start") / "run", steps=2), progress=False)


def test_training_of_energies_leaves_the_rest_to_the_last_bit(start: Path, tmp_path: Path) -> None:
    model = train(tiny_settings(tmp_path / "run", start_from=str(start), **ENERGIES), progress=False)
    before, after = ModelFolder.load(start), ModelFolder.load(model)
    energies = {name for name in after.weights if name.startswith("energy_")}
    assert after.weights.keys() - energies == {name for name in before.weights if not name.startswith("energy_")}
    assert all(torch.equal(after.weights[name], before.weights[name]) for name in after.weights.keys() - energies)
    features = {name: weight for name, weight in after.weights.items() if name.startswith("energy_features.")}
    changed = [name for name, weight in features.items() if not torch.equal(weight, before.weights[name[16:]])]
    assert len(changed) > len(features) / 2
    assert (after.config.thresholds, after.config.limits) == (before.config.thresholds, before.config.limits)
    assert "energies alone were trained" in after.card
    assert after.config.training_data.source == f"matrices: {Path(WATERS).name}; energies: {Path(WATERS).name}"


def test_energies_and_forces_are_learned(start: Path, tmp_path: Path) -> None:
    optimiser = {"learning_rate": 0.01, "schedule": "constant", "ema_decay": 0.5, "warmup_steps": 1}
    changes = {**ENERGIES, "loss": {"hamiltonian": 0, "energy": 0.01, "forces": 1.0}, "optimiser": optimiser}
    output, steps = tmp_path / "run", {"steps": 60, "steps_per_epoch": 20, "batch_size": 4}
    train(tiny_settings(output, start_from=str(start), **steps, **changes), progress=False)
    curve = read_metrics(output / "metrics")
    forces = list(curve["train/forces"].values())
    assert forces[-1] < 0.9 * forces[0]
    assert "valid/hamiltonian_uHa" not in curve


def test_energies_and_matrices_are_learned_together(tmp_path: Path) -> None:
    loss = {"hamiltonian": 1.0, "energy": 1.0, "forces": 1.0}
    model = train(tiny_settings(tmp_path / "run", model=ENERGIES["model"], loss=loss, steps=2), progress=False)
    assert isinstance(ModelFolder.load(model).build(), PhiSNet)
    curve = read_metrics(tmp_path / "run" / "metrics")
    assert {"valid/hamiltonian_uHa", "valid/energy_uHa", "valid/forces_uHa_per_Bohr"} <= curve.keys()


def test_a_file_needs_only_what_is_new(start: Path, tmp_path: Path) -> None:
    (tmp_path / "energies.yaml").write_text(
        f"data: {WATERS}\noutput: x\nstart_from: {start}\ntrain_only: energies\n"
        "model: {energy_from: atoms}\nloss: {hamiltonian: 0.0, energy: 1.0}\n"
    )
    model = TrainingSettings.read(tmp_path / "energies.yaml").model
    theirs = ModelFolder.load(start).config.settings
    assert model.model_dump(mode="json") == {**theirs, "energy_from": "atoms"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"start_from": None}, ValidationError, "write start_from=MODEL"),
        ({"loss": {"hamiltonian": 1.0, "energy": 1.0}}, ValidationError, "but loss.energy and loss.forces to 0"),
        ({"precision": "float64"}, InputError, "write precision=float32"),
    ],
)
def test_other_training_is_refused(
    start: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(tiny_settings(tmp_path / "run", **{"start_from": str(start), **ENERGIES, **changes}), progress=False)
