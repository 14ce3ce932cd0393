"""An interrupt at any time leaves a checkpoint, and words that go on from it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.models.phisnet.training import prepared, run
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.models.training.metrics import read_metrics
from ase_mlwave.models.training.stopping import TrainingInterrupted, stop_request
from tests.models.phisnet.training.runs import tiny_settings

ONE_EPOCH = {"steps": 6, "steps_per_epoch": 4, "checkpoint_minutes": 10.0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run that was not interrupted."""
    output = tmp_path_factory.mktemp("run") / "finished"
    train(tiny_settings(output, **ONE_EPOCH), progress=False)
    return output


def _call(number: int, what: Any, then: Any) -> Any:
    """Wrap a function: at one of its calls, counted from 1, something happens first."""
    count = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            then()
        return what(*arguments, **options)

    return wrapped


def _signal() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _raise() -> None:
    raise KeyboardInterrupt


#: Method -> its call, counted from 1, that is interrupted; steps that are done then, after an exception and a signal
#: (which waits until the step is whole; an exception in the middle of an update is a second interrupt).
CASES = [
    *(("training_step", 1, how, done) for how, done in ((_raise, 0), (_signal, 1))),
    *(("training_step", 3, how, done) for how, done in ((_raise, 2), (_signal, 3))),
    *(("validation_step", call, how, 4) for call in (1, 2) for how in (_raise, _signal)),
    ("update_average", 5, _signal, 5),
]


@pytest.mark.parametrize(("name", "call", "how", "done"), CASES)
def test_interrupt_loses_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, how: Any, done: int
) -> None:
    """In the first epoch, within a validation, in the middle of an update: the resumed run is the uninterrupted one."""
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(PhiSNetModule, name, _call(call, getattr(PhiSNetModule, name), how))
        with pytest.raises(TrainingInterrupted, match=f"stopped after step {done} of 6"):
            train(tiny_settings(output, **ONE_EPOCH), progress=False)
    assert (output / "checkpoints" / "last.ckpt").exists()
    train(tiny_settings(output, **ONE_EPOCH), resume=True, progress=False)
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (finished, output))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert read_metrics(output / "metrics") == read_metrics(finished / "metrics")


def test_second_interrupt_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_request() as stop:
        _signal()
        assert stop
        with pytest.raises(KeyboardInterrupt):
            _signal()
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_half_done_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step whose update a second interrupt breaks off is done again from the last checkpoint."""
    output = tmp_path / "run"
    settings = tiny_settings(output, steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(PhiSNetModule, "update_average", _call(4, PhiSNetModule.update_average, _raise))
        with pytest.raises(TrainingInterrupted, match="step 3 of 4, in the middle of the next: the last checkpoint"):
            train(settings, progress=False)
    assert torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 2


@pytest.mark.parametrize("where", ["integrals", "statistics", "training", "domain"])
def test_message_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Word by word, whatever was interrupted; the same words run to the end."""
    monkeypatch.setenv("COLUMNS", "300")
    settings = tmp_path / "my settings.yaml"
    settings.write_text(tiny_settings(tmp_path / "run", steps=4).model_dump_json(), encoding="utf-8")
    place: Any = {
        "integrals": (prepared.Preparation, "__call__"),
        "statistics": (run, "fit_statistics"),
        "training": (PhiSNetModule, "training_step"),
        "domain": (run, "fit_domain"),
    }[where]
    words = ["train", str(settings), "seed=3", "model.elements=[H,O]", "--no-progress"]
    with monkeypatch.context() as patch:
        patch.setattr(*place, _call(2 if where in ("integrals", "training") else 1, getattr(*place), _raise))
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    found = re.search(r"Go on with\n +mlwave (.*)\n", result.output)
    assert found, result.output
    again = shlex.split(found.group(1))
    assert again == [*words[:-1], "--resume", "--no-progress"]
    result = CliRunner().invoke(app, again)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_process_that_is_told_to_stop_leaves_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    settings = tmp_path / "settings.yaml"
    long = tiny_settings(tmp_path / "run", steps=10**6, steps_per_epoch=10**6)
    settings.write_text(long.model_dump_json(), encoding="utf-8")
    program = (
        "import os, sys; from ase_mlwave.cli.main import app\n"
        "from ase_mlwave.models.phisnet.training.module import PhiSNetModule as module\n"
        "step, count = module.training_step, []\n"
        "def signalled(*arguments):\n"
        "    count.append(1)\n"
        f"    if len(count) == 5: os.kill(os.getpid(), {int(number)})\n"
        "    return step(*arguments)\n"
        "module.training_step = signalled\n"
        "sys.argv = ['mlwave', 'train', sys.argv[1]]\n"
        "app()\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", program, str(settings)], cwd=root, check=False, capture_output=True, text=True
    )
    assert done.returncode == 130, done.stderr
    assert "stopped after step 5 of 1000000. Go on with\n  mlwave train" in done.stderr
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 5
