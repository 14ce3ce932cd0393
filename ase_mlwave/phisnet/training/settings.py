"""Settings of a training run; attribute docstrings are the documentation of ``mlwave train``'s YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ase.calculators.calculator import InputError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.errors import suggestion
from ase_mlwave.phisnet.config import PRESETS, PhiSNetConfig
from ase_mlwave.settings import parse_settings, read_yaml

__all__ = ["LossWeights", "OptimiserSettings", "TrainingSettings"]


class LossWeights(BaseModel):
    """What the loss is made of; a weight of 0 leaves a term out and saves its cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hamiltonian: float = Field(1.0, ge=0)
    """Mean absolute plus root mean square error of H, per Hartree."""
    overlap: float = Field(0.0, ge=0)
    """The same for the overlap head."""
    core: float = Field(0.0, ge=0)
    """The same for the core-Hamiltonian head, per Hartree."""
    alignment: float = Field(0.0, ge=0)
    """Error of H between the true occupied and virtual orbitals (root mean square), per Hartree."""
    energy: float = Field(0.0, ge=0)
    """Mean absolute error of the wavefunction energy, per Hartree."""
    forces: float = Field(0.0, ge=0)
    """Mean absolute error of its forces, per Hartree/Bohr."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossWeights:
        if not any(self.model_dump().values()):
            raise ValueError("all loss weights are zero: nothing to learn")
        return self


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


class TrainingSettings(BaseModel):
    """A whole training run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["phisnet"] = "phisnet"
    """Which model."""
    data: str
    """Data set: an ASE database of ``mlwave label``, or a file that ``read_dataset`` knows."""
    output: str
    """Folder of the run: checkpoints, logs, learning curve, and the model folder in ``output/model``."""
    model: PhiSNetConfig
    """The network; ``preset: paper`` (or ``edge-frame``) fills in what is not given."""
    start_from: str | None = None
    """Model (name or folder) whose weights to start from: fine-tuning and transfer learning."""
    train_split: str = "train"
    """Name of the records to learn from."""
    valid_split: str = "valid"
    """Name of the records that are validated on."""
    loss: LossWeights = LossWeights()
    """Weights of the loss terms."""
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
    """Precision of the network; matrices and eigenproblems are always float64."""
    seed: int = 0
    """Seed of weights and of the order of molecules."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    devices: int = Field(1, ge=1)
    """Devices; several train data-parallel."""
    fit_statistics: bool = True
    """Take shifts and scales of the output layers from the training data; after ``start_from``, the shift of the
    atomic energies."""

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> TrainingSettings:
        """Read settings from a YAML file and ``key=value`` words.

        Parameters
        ----------
        path : str or path
            YAML file; ``model.preset`` names an entry of ``PRESETS`` that fills in what ``model`` leaves out.
        overrides : sequence of str
            Dotted keys with values, applied last.

        Returns
        -------
        TrainingSettings

        Raises
        ------
        InputError
            If the file or a setting is wrong; an unknown name comes with the nearest known one.
        """
        values = read_yaml(path, overrides)
        model: Any = values.get("model")
        if isinstance(model, dict) and "preset" in model:
            preset = model.pop("preset")
            if preset not in PRESETS:
                raise InputError(f"there is no preset {preset!r}. {suggestion(str(preset), PRESETS)}")
            values["model"] = {**PRESETS[preset], **model}
        return parse_settings(cls, values)
