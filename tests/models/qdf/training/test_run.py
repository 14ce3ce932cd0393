"""Whole training runs of a quantum deep field on eight waters: the same twice, interrupted and resumed, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.calculators.calculator import CalculationFailed, InputError
from safetensors.torch import load_file
from torch import Tensor

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.training.module import QDFModule
from ase_mlwave.models.qdf.training.run import train
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.metrics import read_metrics
from ase_mlwave.properties import LABELS
from ase_mlwave.reference.differences import base_labels
from ase_mlwave.units import HARTREE

pytestmark = pytest.mark.usefixtures("undrawn")

WATERS = str(Path(__file__).parents[3] / "data" / "files" / "waters_pbe_def2svp.db")


def tiny_settings(output: Path, **changes: Any) -> TrainingSettings:
    chosen: dict[str, Any] = {
        "data": WATERS,
        "output": str(output),
        "model": {"elements": ["H", "O"], "dimension": 8, "potential_width": 4, "readout_width": 16, "grid_level": 1},
        "grid_level": 0,
        "steps": 8,
        "steps_per_epoch": 2,
        "batch_size": 3,
        "checkpoint_minutes": 0.0,
        "accelerator": "cpu",
        "loss": {"energy": 5.0, "forces": 1.0, "potential": 0.003},
        "readout": {"directions": 3},
        "optimiser": {"ema_decay": 0.9, "warmup_steps": 3},
    }
    return TrainingSettings.model_validate({**chosen, **changes})


def _weights(output: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_file(output / "model" / "model.safetensors")
    return weights


def _assert_same_weights(first: Path, second: Path) -> None:
    one, other = _weights(first), _weights(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "finished"
    train(tiny_settings(output), progress=False)
    return output


def test_same_run_twice_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    train(tiny_settings(tmp_path / "again"), progress=False)
    _assert_same_weights(finished, tmp_path / "again")


def test_resumed_run_equals_uninterrupted(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, step, count = tmp_path / "run", QDFModule.training_step, 0

    def interrupted(*arguments: Any) -> Tensor:
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(QDFModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_settings(output), progress=False)
    with pytest.raises(InputError, match="--resume"):
        train(tiny_settings(output), progress=False)
    train(tiny_settings(output), resume=True, progress=False)
    _assert_same_weights(finished, output)


def test_validation_that_does_not_fit_the_memory_is_halved(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate, sizes = QDFModule.validation_step, []

    def small_device(module: Any, network: Any, batch: Any) -> dict[str, Tensor]:
        sizes.append(len(batch.energies))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("pretend")
        return validate(module, network, batch)

    monkeypatch.setattr(QDFModule, "validation_step", small_device)
    train(tiny_settings(tmp_path / "run"), progress=False)
    assert sizes[0] == 2
    assert set(sizes[1:]) == {1}, "it stays so for the rest of the run"
    _assert_same_weights(finished, tmp_path / "run")


def test_step_that_does_not_fit_the_memory_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small_device(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("pretend")

    monkeypatch.setattr(QDFModule, "training_step", small_device)
    with pytest.raises(CalculationFailed, match=r"after step 0\. Write batch_size=1 and another folder"):
        train(tiny_settings(tmp_path / "run"), progress=False)


@pytest.mark.slow
def test_training_learns(tmp_path: Path) -> None:
    output = tmp_path / "run"
    optimiser = {"ema_decay": 0.9, "warmup_steps": 10, "learning_rate": 3e-2}
    settings = {"steps": 300, "steps_per_epoch": 50, "batch_size": 6, "rotate": False, "optimiser": optimiser}
    train(tiny_settings(output, **settings), progress=False)
    metrics = read_metrics(output / "metrics")
    for name in ("train/forces", "train/potential"):
        first, *_, last = metrics[name].values()
        assert last < 0.75 * first, name


def test_model_starts_at_the_atoms_and_the_calculator_takes_it(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    train(tiny_settings(plain, readout=None, steps=2), progress=False)
    records = list(read_dataset(WATERS).split("train"))
    mean = sum(record.energy or 0.0 for record in records) / len(records) * HARTREE
    energy = QDFCalculator(plain / "model").get_potential_energy(atoms_from_record(records[0]))
    assert energy == pytest.approx(mean, abs=2.0)
    references = {"H": -13.6, "O": -2041.0}
    train(tiny_settings(tmp_path / "run", references_ev=references, steps=1), progress=False)
    network = ModelFolder.load(tmp_path / "run" / "model").build()
    assert isinstance(network, QDF)
    assert (network.references * HARTREE).tolist() == pytest.approx(list(references.values()))


def test_run_learns_what_a_base_level_lacks(tmp_path: Path) -> None:
    """The references, too, are those of the difference."""
    pytest.importorskip("tblite")
    model = {"elements": ["H", "O"], "base": "gfn2-xtb", "dimension": 8, "potential_width": 4, "readout_width": 16}
    train(tiny_settings(tmp_path, model={**model, "grid_level": 1}, loss={"potential": 1.0}), progress=False)
    folder, records = ModelFolder.load(tmp_path / "model"), list(read_dataset(WATERS).split("train"))
    assert folder.card.startswith("# A quantum deep field for H, O at pbe/def2-svp, correcting gfn2-xtb\n")
    calc = QDFCalculator(tmp_path / "model")
    structures = [atoms_from_record(record) for record in records]
    forces = np.array([result["forces"] for result in calc.predict(structures)])
    labels = [base_labels("gfn2-xtb", record) for record in records]
    exact, base = (LABELS["forces"].to_ase(np.array([one.forces for one in some])) for some in (records, labels))
    assert np.abs(forces - exact).mean() < 0.3 * np.abs(base - exact).mean()
    lacking = [(record.energy or 0.0) - (label.energy or 0.0) for record, label in zip(records, labels, strict=True)]
    atoms = calc.members[0].network_as(QDF).references.numpy() @ [2, 1]
    assert atoms == pytest.approx(np.mean(lacking), abs=0.5)


def test_run_starts_from_another_model(finished: Path, tmp_path: Path) -> None:
    start = str(finished / "model")
    train(tiny_settings(tmp_path / "run", start_from=start, steps=1, readout=None), progress=False)
    assert torch.equal(_weights(tmp_path / "run")["references"], _weights(finished)["references"])
    other = tiny_settings(tmp_path / "other", start_from=start, model={"elements": ["H", "O"], "dimension": 9})
    with pytest.raises(InputError, match=r"other model settings: dimension, potential_width"):
        train(other, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"elements": ["H"]}}, r"the data have O, which"),
        ({"model": {"elements": ["H", "O"], "level": "hf/sto-3g"}}, "model.level is"),
        ({"train_split": "tarin"}, "no split 'tarin'"),
    ],
)
def test_data_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, KeyError), match=message):
        train(tiny_settings(tmp_path / "run", **changes), progress=False)


def test_output_that_can_be_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"there can be no folder .*file"):
        train(tiny_settings(tmp_path / "file"), progress=False)


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("kind: qdf\ndata: x.db\noutput: run\nmodel: {elements: [H, O]}\n", encoding="utf-8")
    for word, message in (
        ("loss.force=1", "Did you mean 'forces'"),
        ("references_ev.H=0.0", "references_ev is given for"),
        ("loss={energy: 0, forces: 0, potential: 0}", "nothing to learn"),
        ("readout=null", "no readout is fitted"),
    ):
        with pytest.raises(InputError, match=message):
            TrainingSettings.read(file, [word])


def test_command_line_trains_by_kind(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from ase_mlwave.cli.main import app

    file = tmp_path / "settings.yaml"
    file.write_text(tiny_settings(tmp_path / "run", steps=1).model_dump_json(), encoding="utf-8")  # JSON is YAML
    assert CliRunner().invoke(app, ["train", str(file), "--no-progress"]).exit_code == 0
    assert ModelFolder.load(tmp_path / "run" / "model").config.kind == "qdf"
    result = CliRunner().invoke(app, ["train", str(file), "kind=qfd"])
    assert result.exit_code == 2
    assert "Did you mean 'qdf'" in result.output
