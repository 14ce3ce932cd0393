"""Settings that all training runs share; attribute docstrings are the documentation of ``mlwave train``'s YAML file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["OptimiserSettings", "RunSettings"]


class OptimiserSettings(BaseModel):
    """AdamW, its learning rate over time, and the average of weights that is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(3e-3, gt=0)
    """Highest learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay from the highest rate to zero over ``decay_steps``."""
    decay_steps: int | None = Field(None, ge=1)
    """Steps until the rate is zero; ``steps`` by default, more for a run that another one goes on from."""
    warmup_steps: int = Field(100, ge=0)
    """Steps of linear increase at the start."""
    weight_decay: float = Field(1e-5, ge=0)
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the first and second moments."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is validated and shipped."""


class RunSettings(BaseModel):
    """A training run, whatever the model."""

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
    """Folder of the run: checkpoints, logs, learning curve, and the model folder in ``output/model``."""
    start_from: str | None = None
    """Model (name or folder) whose weights to start from: fine-tuning and transfer learning."""
    train_split: str = "train"
    """Name of the records to learn from."""
    valid_split: str = "valid"
    """Name of the records that are validated on."""
    optimiser: OptimiserSettings = OptimiserSettings()
    """Optimiser and schedule."""
    steps: int = Field(10_000, ge=1)
    """Optimiser steps in all."""
    batch_size: int = Field(16, ge=1)
    """Molecules per step (and per device)."""
    steps_per_epoch: int = Field(200, ge=1)
    """Steps between validations; checkpoints are written at these points."""
    checkpoint_minutes: float = Field(3.0, ge=0)
    """Least time between two checkpoints; 0 writes one after every validation."""
    precision: Literal["float32", "float64"] = "float32"
    """Precision of the network; geometry, matrices and eigenproblems are always float64."""
    seed: int = 0
    """Seed of weights and of the order of molecules."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    devices: int = Field(1, ge=1)
    """Devices; several train data-parallel."""
    fit_statistics: bool = True
    """Take shifts and scales of the output layers (for a quantum deep field: the atoms' references) from the training
    data; when starting from a model, the energies' shifts alone."""
