"""Laws of a model whose potential is the mean of several."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.calculators.calculator import InputError
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.inference import PredictedBatch, predict_batch
from ase_mlwave.models.phisnet.joining import join_models
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.system import System
from tests.models.phisnet.systems import geometry

SMALL = {"elements": ["H", "O"], "features": 4, "n_modules": 2, "hidden": 8, "n_radial": 8, "max_order": 4}
POTENTIAL = SMALL | {"auxiliary": "def2-universal-jkfit"}


def _saved(folder: Path, seed: int, **settings: Any) -> Path:
    torch.manual_seed(seed)
    network = PhiSNet(PhiSNetConfig(**(POTENTIAL | settings))).cast(torch.float64)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    data = TrainingData(source=f"data of {seed}", sha256="0" * 64, n_records=1)
    limits = {"domain_distance": 1e9}
    return ModelFolder.pack(
        "phisnet", network, training_data=data, card="", thresholds=limits, limits=limits, errors={"h_uHa": 1.0}
    ).save(folder)


def _predicted(model: Path) -> PredictedBatch:
    network: Any = ModelFolder.load(model).build()
    return predict_batch(network, [System(*geometry("OHH"))])


def test_the_potential_is_the_mean_and_all_else_the_first_ones(tmp_path: Path) -> None:
    models = [_saved(tmp_path / name, seed) for seed, name in enumerate("abc")]
    alone = [_predicted(model) for model in models]
    joined = _predicted(join_models(models, tmp_path / "joined"))
    mean = sum(one.hamiltonian.flat for one in alone) / 3
    torch.testing.assert_close(joined.hamiltonian.flat, mean, rtol=0, atol=1e-12)
    assert float((alone[0].hamiltonian.flat - mean).abs().max()) > 1e-4
    torch.testing.assert_close(joined.atomic_energies, alone[0].atomic_energies)
    card = (tmp_path / "joined" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}` (data of {seed})" in card for seed, name in enumerate("abc"))


def test_members_of_joined_models_count_alike(tmp_path: Path) -> None:
    a, b, c = (_saved(tmp_path / name, seed) for seed, name in enumerate("abc"))
    at_once = join_models([a, b, c], tmp_path / "at once")
    two = join_models([a, b], tmp_path / "two")
    one_more = join_models([two, c], tmp_path / "one more")
    torch.testing.assert_close(
        _predicted(one_more).hamiltonian.flat, _predicted(at_once).hamiltonian.flat, rtol=0, atol=1e-14
    )
    assert not ModelFolder.load(one_more).config.errors, "they were measured on another model"


def test_all_members_are_trained_on(tmp_path: Path) -> None:
    models = [_saved(tmp_path / name, seed) for seed, name in enumerate("ab")]
    network: Any = ModelFolder.load(join_models(models, tmp_path / "joined")).build()
    network.others.requires_grad_(True)
    network(collate([System(*geometry("OHH"))], network.config.cutoff)).potential.square().sum().backward()
    assert all(head.weight.grad.any() for head in network.others[0].potential.heads.values())


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    a, wide = _saved(tmp_path / "a", 0), _saved(tmp_path / "wide", 1, features=8)
    blocks = _saved(tmp_path / "blocks", 2, auxiliary=None)
    with pytest.raises(InputError, match="1 model was given; two or more"):
        join_models([a], tmp_path / "joined")
    with pytest.raises(InputError, match=re.escape("wide has other settings than") + ".*features=8 \\(not 4\\)"):
        join_models([a, wide], tmp_path / "joined")
    with pytest.raises(InputError, match="blocks has no learned potential"):
        join_models([a, blocks], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
    content = (wide / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="wide holds a model already"):  # who forgets the output names a model
        join_models([a, a], wide)
    assert (wide / "model.safetensors").read_bytes() == content
    with pytest.raises(ValueError, match="leave out members"):
        PhiSNetConfig(**(SMALL | {"members": 2}))  # type: ignore[arg-type]


def test_command(tmp_path: Path) -> None:
    models = [str(_saved(tmp_path / name, seed)) for seed, name in enumerate("ab")]
    result = CliRunner().invoke(app, ["join", *models, str(tmp_path / "joined")])
    assert result.exit_code == 0, result.output
    assert "wrote" in result.output
    assert (tmp_path / "joined" / "config.json").is_file()
