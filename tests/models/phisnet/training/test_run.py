"""Whole training runs: the same twice, interrupted and resumed, fine-tuned, and refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from ase.calculators.calculator import InputError
from safetensors.torch import load_file
from torch import Tensor

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.models.phisnet.training.settings import TrainingSettings
from ase_mlwave.models.training import loop
from ase_mlwave.models.training.metrics import read_metrics
from ase_mlwave.plotting.training import draw_learning_curve
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.units import HARTREE
from tests.models.phisnet.training.runs import MODEL, WATERS, tiny_settings


def _weights(output: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_file(output / "model" / "model.safetensors")
    return weights


def _assert_same_weights(first: Path, second: Path) -> None:
    one, other = _weights(first), _weights(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def _train(output: Path, *, resume: bool = False, **changes: Any) -> None:
    train(tiny_settings(output, **changes), resume=resume, progress=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run that was not interrupted, with its curve."""
    output = tmp_path_factory.mktemp("run") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "draw_learning_curve", draw_learning_curve)
        _train(output)
    return output


def test_same_run_twice_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    """Whatever the caller drew from the global generators before."""
    torch.manual_seed(12345)
    _train(tmp_path / "again")
    _assert_same_weights(finished, tmp_path / "again")
    _train(tmp_path / "other", seed=1)
    assert not torch.equal(
        _weights(finished)["embedding.element.weight"], _weights(tmp_path / "other")["embedding.element.weight"]
    )


def _process_state() -> dict[str, Any]:
    return {
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": str(np.random.get_state()),  # noqa: NPY002  (the global one is what must not change)
        "environment": dict(os.environ),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "dtype": torch.get_default_dtype(),
        "interrupt": signal.getsignal(signal.SIGINT),
    }


def test_training_leaves_no_trace_in_the_process(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = _process_state()
    _train(tmp_path / "run", steps=2)
    after = _process_state()
    assert {name for name in before if before[name] != after[name]} == set()


@pytest.mark.parametrize("steps_before", [3, 4, 7])
def test_resumed_run_equals_uninterrupted(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before: int
) -> None:
    """Weights, their average and the learning curve, whether the interrupt comes within an epoch or between two."""
    output, step = tmp_path / "resumed", PhiSNetModule.training_step
    count = 0

    def interrupted(self: PhiSNetModule, *arguments: Any) -> Tensor:
        nonlocal count
        if count == steps_before:
            raise KeyboardInterrupt
        count += 1
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PhiSNetModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(output)
    assert not (output / "model").exists()
    _train(output, resume=True)
    _assert_same_weights(finished, output)
    assert read_metrics(output / "metrics") == read_metrics(finished / "metrics")


@pytest.mark.slow
def test_killed_run_can_be_resumed(finished: Path, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from ase_mlwave.models.phisnet.training import module, run\n"
        "from tests.models.phisnet.training.runs import tiny_settings\n"
        "step, count = module.PhiSNetModule.training_step, []\n"
        "def killed(*arguments):\n"
        "    count.append(1)\n"
        "    if len(count) == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(*arguments)\n"
        "module.PhiSNetModule.training_step = killed\n"
        "run.train(tiny_settings(Path(sys.argv[1])), progress=False)\n"
    )
    output = tmp_path / "killed"
    root = Path(__file__).parents[4]
    result = subprocess.run([sys.executable, "-c", program, str(output)], cwd=root, check=False, capture_output=True)
    assert result.returncode == -signal.SIGKILL
    _train(output, resume=True)
    _assert_same_weights(finished, output)
    assert read_metrics(output / "metrics") == read_metrics(finished / "metrics")


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    _train(tmp_path / "run", steps=4)
    before = _weights(tmp_path / "run")
    _train(tmp_path / "run", steps=4, resume=True)
    assert all(torch.equal(before[name], value) for name, value in _weights(tmp_path / "run").items())


def test_run_leaves_model_checkpoint_settings_and_curve(finished: Path) -> None:
    folder = ModelFolder.load(finished / "model")
    assert isinstance(folder.build(), PhiSNet)
    assert folder.config.training_data.n_records == 4
    assert folder.config.level == "pbe/def2-svp"
    assert (finished / "checkpoints" / "last.ckpt").exists()
    assert (finished / "settings.json").exists()
    picture = matplotlib.image.imread(finished / "learning_curve.png")
    assert picture.shape[0] > 200
    assert float(picture[:, :, :3].std()) > 0.01
    curve = read_metrics(finished / "metrics")
    assert list(curve["train/loss"]) == list(curve["valid/hamiltonian_uHa"]) == [2, 4, 6, 8]


def test_shipped_weights_are_the_best_that_were_validated(finished: Path) -> None:
    """Of the trained weights and of their average, at any validation; the card and the checkpoint say which."""
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    curve = read_metrics(finished / "metrics")
    best = {kind: min(curve[f"{kind}loss"].values()) for kind in ("valid/", "valid_trained/")}
    which = checkpoint["best"]["which"]
    assert checkpoint["best"]["loss"] == best[which] == min(best.values())
    network = PhiSNet(ModelFolder.load(finished / "model").build().config)
    network.load_state_dict(checkpoint["best"]["weights"])
    name = "heads.pairs.O-H.weights.0"
    assert torch.equal(_weights(finished)[name], checkpoint["best"]["weights"][name])
    average, trained = (checkpoint["module"][f"{kind}.{name}"] for kind in ("average", "network"))
    assert not torch.equal(average, trained)
    words = {"valid/": "averaged", "valid_trained/": "trained"}[which]
    assert f"the {words} weights of step {checkpoint['best']['step']}" in (finished / "model" / "README.md").read_text()


@pytest.mark.parametrize(("decay", "which"), [(0.9999, "trained"), (0.5, "averaged")])
def test_better_of_weights_and_their_average_is_kept(tmp_path: Path, decay: float, which: str) -> None:
    """An average that hardly moves after its start is worse; at a high constant rate one that does is better."""
    rate = 3e-3 if which == "trained" else 0.1
    optimiser = {"ema_decay": decay, "learning_rate": rate, "schedule": "constant", "warmup_steps": 0}
    _train(tmp_path / "run", steps=12, steps_per_epoch=12, optimiser=optimiser)
    assert f"the {which} weights of step 12" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_training_lowers_the_error(tmp_path: Path) -> None:
    _train(
        tmp_path / "run",
        steps=60,
        steps_per_epoch=20,
        batch_size=4,
        optimiser={"learning_rate": 0.03, "schedule": "constant", "ema_decay": 0.5, "warmup_steps": 1},
    )
    errors = list(read_metrics(tmp_path / "run" / "metrics")["valid/hamiltonian_uHa"].values())
    assert errors[2] < 0.8 * errors[0]


@pytest.mark.parametrize("product", ["edge_frame", "clebsch_gordan"])
def test_all_terms_train_together(tmp_path: Path, product: str) -> None:
    loss = {name: 1.0 for name in ("hamiltonian", "overlap", "core", "alignment", "energy", "forces")}
    model = {**MODEL, "product": product, "overlap_head": True, "core_head": True}
    _train(tmp_path / "run", steps=2, batch_size=2, loss=loss, model=model, precision="float64")
    curve = read_metrics(tmp_path / "run" / "metrics")
    for name in loss:
        assert np.isfinite(curve[f"train/{name}"][2])
    assert curve["valid/forces_uHa_per_Bohr"][2] > 0
    assert curve["valid/energy_uHa"][2] > 0


def test_mixed_precision_is_of_the_layers_in_steps_alone(tmp_path: Path) -> None:
    """Weights and validation are float32; the first steps lose little."""
    losses = {}
    for precision in ("float32", "bf16-mixed"):
        _train(tmp_path / precision, steps=2, precision=precision)
        losses[precision] = read_metrics(tmp_path / precision / "metrics")["train/loss"][2]
    assert losses["bf16-mixed"] != losses["float32"]
    assert losses["bf16-mixed"] == pytest.approx(losses["float32"], rel=0.02)
    assert _weights(tmp_path / "bf16-mixed")["heads.pairs.O-H.weights.0"].dtype == torch.float32


def test_fine_tuning_starts_from_the_given_weights(finished: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "start_from": str(finished / "model"),
        "steps": 1,
        "optimiser": {"learning_rate": 1e-12, "weight_decay": 0.0},
    }
    _train(tmp_path / "same", **changes)
    start, end = _weights(finished), _weights(tmp_path / "same")
    for name, value in start.items():
        if not name.startswith(("domain", "energy_shift", "energy_scale")):
            torch.testing.assert_close(end[name], value, rtol=1e-6, atol=1e-9)
    with pytest.raises(InputError, match="has other model settings: features, hidden"):
        _train(tmp_path / "other", start_from=str(finished / "model"), model={**MODEL, "features": 9, "hidden": 4})


def test_a_run_on_matrices_does_not_inherit_the_penalty(finished: Path, tmp_path: Path) -> None:
    """It was chosen for other molecules; energies were trained with it, and keep it."""
    folder = ModelFolder.load(finished / "model")
    config = folder.config.model_copy(update={"settings": {**folder.config.settings, "overlap_penalty": 1e-4}})
    replace(folder, config=config).save(tmp_path / "start")
    text = f"data: x.db\noutput: {tmp_path / 'run'}\nstart_from: {tmp_path / 'start'}\n"
    (tmp_path / "settings.yaml").write_text(text)
    for words, penalty in (((), 0.0), (("loss.energy=1",), 1e-4)):
        assert TrainingSettings.read(tmp_path / "settings.yaml", words).model.overlap_penalty == penalty


@pytest.mark.parametrize("atoms", [False, True])
def test_energies_of_another_level_are_learned_from_where_their_mean_is_right(tmp_path: Path, atoms: bool) -> None:
    """From a model without atomic energies, by a shift of all orbitals or by atomic energies that start from zero."""
    model = MODEL | {"atomic_energies": False, "short_range": False}
    first = train(tiny_settings(tmp_path / "low", model=model), progress=False)
    waters = read_dataset(WATERS)
    other = [replace(r, energy=r.energy - 2.0, matrices={}) for r in waters]  # type: ignore[operator]
    write_dataset(tmp_path / "other.db", replace(waters, records=tuple(other), level="mp2/def2-svp"))
    text = (
        f"{{data: {tmp_path}/other.db, output: {tmp_path}/high, start_from: {first}, model: {{level: mp2/def2-svp}}}}"
    )
    (tmp_path / "high.yaml").write_text(text)
    words = [f"model.atomic_energies={str(atoms).lower()}", "loss={hamiltonian: 0, energy: 1}", "steps=1"]
    words += ["optimiser.learning_rate=1e-9", "accelerator=cpu"]
    settings = TrainingSettings.read(tmp_path / "high.yaml", words)
    assert settings.model.features == MODEL["features"]
    folder = train(settings, progress=False)
    calculator = PhiSNetCalculator(folder, outside="warn")
    assert calculator.option("energy") == "wavefunction"
    shift = calculator.members[0].network_as(PhiSNet).config.baseline_shift
    assert (abs(shift) > 0.01) != atoms
    records = [record for record in other if record.info["split"] == "train"]
    found = calculator.predict([atoms_from_record(record) for record in records], ("energy",))
    errors = np.array([one["energy"] / HARTREE - r.energy for one, r in zip(found, records, strict=True)])
    assert abs(errors.mean()) < 1e-4
    with pytest.raises(InputError, match="mp2/def2-svp has none"):
        PhiSNetCalculator(folder, energy="functional")
    assert " energy=wavefunction " in LevelOfTheory.parse(str(folder)).name


def test_training_goes_on_with_a_wider_network(finished: Path, tmp_path: Path) -> None:
    """The first validation is that of the narrow network; the domain is that of the wide one."""
    wide = {**MODEL, "features": 2 * MODEL["features"], "hidden": 2 * MODEL["hidden"]}
    changes: dict[str, Any] = {"start_from": str(finished / "model"), "steps": 1}
    quiet = {"learning_rate": 1e-12, "weight_decay": 0.0}
    losses = []
    for name, model in (("narrow", MODEL), ("wide", wide)):
        _train(tmp_path / name, model=model, optimiser=quiet, **changes)
        losses.append(read_metrics(tmp_path / name / "metrics")["valid/loss"][1])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_another_run_is_not_overwritten(finished: Path) -> None:
    before = (finished / "model" / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="holds a training run already; give --resume"):
        _train(finished)
    assert (finished / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": {**MODEL, "elements": ["H"]}}, InputError, r"the data have O, which .* \"model.elements=\[H,O\]\""),
        ({"model": {**MODEL, "level": "hf/def2-svp"}}, InputError, "'pbe/def2-svp .*' but model.level is"),
        ({"valid_split": "validation"}, KeyError, "no split 'validation': it has 'train' \\(4\\), 'valid' \\(2\\)"),
        ({"start_from": "no-such-model"}, InputError, "no-such-model"),
        ({"data": "no-such-file.db"}, FileNotFoundError, "no-such-file.db"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _train(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_waters_are_small() -> None:
    assert Path(WATERS).stat().st_size < 200_000
