"""Data-parallel training: two processes on the CPU, joined by gloo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.models.training.metrics import read_metrics
from tests.models.phisnet.training.runs import tiny_settings

ROOT = Path(__file__).parents[4]
#: Means over molecules of one size, so that the mean over two processes is that over all.
RUN: dict[str, Any] = {
    "loss": {"hamiltonian": 0.0, "energy": 1.0, "forces": 1.0},
    "precision": "float64",
    "steps": 4,
    "checkpoint_minutes": 10.0,
}
#: The first process is told to stop in its second step where a third word is given; the other one hears of it.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.models.training.run import Training
from tests.models.phisnet.training.runs import tiny_settings
from tests.models.phisnet.training.test_several_devices import RUN

step = PhiSNetModule.training_step

def stopped(module, batch, number):
    if number == 1 and len(sys.argv) > 2 and os.environ.get("LOCAL_RANK", "0") == "0":
        os.kill(os.getpid(), signal.SIGINT)
    return step(module, batch, number)

PhiSNetModule.training_step = stopped
Training._measure = lambda *arguments: None
train(tiny_settings(Path(sys.argv[1]), devices=2, batch_size=1, **RUN), resume=True, progress=False)
"""


def _in_two_processes(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(program), *words]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose loss is the same to rounding, also after an interrupt."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    train(tiny_settings(tmp_path / "one", batch_size=2, **RUN), progress=False)
    program, output = tmp_path / "program.py", tmp_path / "two"
    program.write_text(PROGRAM, encoding="utf-8")
    interrupted = _in_two_processes(program, str(output), "stop")
    assert "stopped after step 2 of 4" in interrupted.stderr
    assert torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 2
    assert not (output / "model").exists()
    resumed = _in_two_processes(program, str(output))
    assert resumed.returncode == 0, resumed.stderr
    one, two = read_metrics(tmp_path / "one" / "metrics"), read_metrics(output / "metrics")
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-9), name
