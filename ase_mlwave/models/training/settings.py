"""Settings that all training runs share; attribute docstrings are the documentation of ``mlwave train``'s YAML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ase_mlwave.models.training.yaml_settings import parse_settings, read_yaml

__all__ = ["DataSettings", "OptimiserSettings", "RunSettings", "Schedule"]

#: Shares of a run that are warm-up, and that the average of weights remembers, unless the settings say otherwise.
_WARMUP, _MEMORY = 0.04, 0.05


class OptimiserSettings(BaseModel):
    """AdamW, its learning rate over time, and the average of weights beside the weights themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(3e-3, gt=0)
    """Highest learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay from the highest rate to zero over ``decay_steps``."""
    decay_steps: int | None = Field(None, ge=1)
    """Steps until the rate is zero; ``steps`` by default, more for a run that another one goes on from."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps of linear increase at the start; 4 % of ``steps`` by default."""
    weight_decay: float = Field(1e-5, ge=0)
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the first and second moments."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    ema_decay: float | None = Field(None, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; by default that which remembers 5 % of ``steps``. The
    average forgets its start faster; validation chooses between it and the weights themselves."""


class DataSettings(BaseModel):
    """What any run reads and where it writes, whatever it fits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    """Which model."""
    data: str
    """Data set: an ASE database of ``mlwave label``, or a file that ``read_dataset`` knows."""
    energy_key: str | None = None
    """Name of the energies in an extxyz file or another program's database (`docs/data.md`); usual names by default."""
    forces_key: str | None = None
    """Name of the forces; with a minus sign before it a gradient's."""
    units: str | None = None
    """Of energies and forces in files that do not say: eV (the default), kcal/mol, kJ/mol, Hartree."""
    output: str
    """Folder of the run: settings, checkpoints, logs, learning curve, and the model folder in ``output/model``."""
    model: Any
    """Elements, level of theory, and what else describes the model."""
    train_split: str = "train"
    """Name of the records to learn from."""
    valid_split: str | None = "valid"
    """Name of the records that are validated on."""
    seed: int = 0
    """Of whatever is drawn at random: weights, the order of molecules, directions."""

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read settings from a YAML file and ``key=value`` words, or raise ``InputError`` that says what is wrong."""
        return parse_settings(cls, read_yaml(path, overrides))

    def write(self) -> None:
        """Make the folder of the run, and say in it what was chosen."""
        output = Path(self.output)
        output.mkdir(parents=True, exist_ok=True)
        (output / "settings.json").write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class RunSettings(DataSettings):
    """A training run in steps of gradient descent, whatever the network."""

    start_from: str | None = None
    """Model (name or folder) whose weights to start from: fine-tuning and transfer learning."""
    valid_split: str = "valid"
    """Name of the records that are validated on."""
    optimiser: OptimiserSettings = OptimiserSettings()
    """Optimiser and schedule."""
    steps: int = Field(10_000, ge=1)
    """Optimiser steps in all: how long to train. Warm-up, decay of the learning rate and average of weights scale with
    it."""
    batch_size: int = Field(16, ge=1)
    """Molecules per step (and per device)."""
    bucketing: int = Field(1, ge=1)
    """Batches that are drawn together and then divided by the molecules' size. 1, the default, leaves all to chance; 10
    or more make steps on molecules of very different sizes more alike in time and memory within a batch."""
    steps_per_epoch: int = Field(200, ge=1)
    """Steps between validations."""
    checkpoint_minutes: float = Field(1.0, ge=0)
    """Time between two checkpoints; 0 writes one after every validation. An interrupt always leaves one."""
    precision: Literal["float32", "float64"] = "float32"
    """Precision of the network; geometry, matrices and eigenproblems are always float64."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    devices: int = Field(1, ge=1)
    """Devices; several train data-parallel."""
    fit_statistics: bool = True
    """Take shifts and scales of the output layers (for a quantum deep field: the atoms' references) from the training
    data; when starting from a model, the energies' shifts alone, where energies are learned."""


class Schedule:
    """Learning rate and average of weights over the steps of a run.

    Parameters
    ----------
    optimiser : OptimiserSettings
        What was chosen.
    steps : int
        Steps of the run, with which scales what was not.
    """

    def __init__(self, optimiser: OptimiserSettings, steps: int) -> None:
        settings = optimiser
        self.kind, self.highest = settings.schedule, settings.learning_rate
        self.decay_steps = settings.decay_steps or steps
        self.warmup_steps = math.ceil(_WARMUP * steps) if settings.warmup_steps is None else settings.warmup_steps
        self.ema_decay = max(0.0, 1 - 1 / (_MEMORY * steps)) if settings.ema_decay is None else settings.ema_decay

    def learning_rate(self, step: int) -> float:
        """Give the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        remaining = max(0.0, 1.0 - step / self.decay_steps)
        fall = {"linear": remaining, "cosine": 0.5 * (1 + math.cos(math.pi * (1 - remaining))), "constant": 1.0}
        return self.highest * rise * fall[self.kind]

    def average_decay(self, step: int) -> float:
        """Give the decay of the average at a step, counted from 0.

        Notes
        -----
        It rises as (n + 1) / (n + 10): the average spans a tenth of the steps so far, and of the random weights with
        which it begins there is 9! / n^9 left after n steps (``test_average_forgets_where_it_began``); with a constant
        decay d it would be d^n.
        """
        return min(self.ema_decay, (step + 1) / (step + 10))
