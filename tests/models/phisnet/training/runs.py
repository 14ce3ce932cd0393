"""Tiny training runs on eight waters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase_mlwave.models.phisnet.training.settings import TrainingSettings

WATERS = str(Path(__file__).parents[3] / "data" / "files" / "waters_pbe_def2svp.db")
MODEL = {"elements": ["H", "O"], "features": 4, "n_modules": 1, "n_radial": 4, "hidden": 8}


def tiny_settings(output: Path, **changes: Any) -> TrainingSettings:
    """Give settings of a run of eight steps in four epochs, which writes a checkpoint after every one."""
    chosen: dict[str, Any] = {
        "data": WATERS,
        "output": str(output),
        "model": MODEL,
        "steps": 8,
        "steps_per_epoch": 2,
        "batch_size": 3,
        "checkpoint_minutes": 0.0,
        "accelerator": "cpu",
        "optimiser": {"ema_decay": 0.9, "warmup_steps": 3},
    }
    return TrainingSettings.model_validate({**chosen, **changes})
