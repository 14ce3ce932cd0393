"""Settings of a training run; attribute docstrings are the documentation of ``mlwave train``'s YAML file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.models.qdf.config import MAX_GRID_LEVEL, QDFConfig
from ase_mlwave.models.training.settings import OptimiserSettings, RunSettings

__all__ = ["LossWeights", "ReadoutSettings", "TrainingSettings"]


class LossWeights(BaseModel):
    """What the loss is made of; a weight of 0 leaves a term out and saves its cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy: float = Field(0.0, ge=0)
    """Mean absolute error of the energy per atom, per Hartree: small and large molecules count alike."""
    forces: float = Field(0.0, ge=0)
    """Mean absolute error of the forces' components, per Hartree/Bohr."""
    potential: float = Field(1.0, ge=0)
    """Relative error (root mean square over space) of the external potential that the Hohenberg-Kohn map makes of the
    density."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossWeights:
        if not (self.energy or self.forces or self.potential):
            raise ValueError("the loss weights are all zero: nothing to learn")
        return self


class ReadoutSettings(BaseModel):
    """The readout of the energy functional in closed form, after the steps of gradient descent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directions: int = Field(12, ge=0)
    """Random directions per molecule along which forces are fitted; 0 fits energies alone."""
    energy_unit: float = Field(3.0, gt=0)
    """Error of the energy, meV per atom, that weighs as much as ..."""
    force_unit: float = Field(100.0, gt=0)
    """... this error of a force, meV/Angstrom."""
    orientations: int = Field(2, ge=0)
    """Random orientations per molecule, on a finer grid, at which the energy is to be the same."""
    orientation_unit: float = Field(1.0, gt=0)
    """Difference between these energies, meV, that weighs as much as ``force_unit``. Without this term the fit finds
    features that only the grid's errors tell apart."""
    penalties: tuple[float, ...] = Field((1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3), min_length=1)
    """Penalties on the readout's weights, relative to what the features vary; validation chooses."""

    @model_validator(mode="after")
    def _positive(self) -> ReadoutSettings:
        if min(self.penalties) <= 0:
            raise ValueError(f"penalties must be positive, got {list(self.penalties)}")
        return self


class TrainingSettings(RunSettings):
    """A whole training run of a quantum deep field."""

    kind: Literal["qdf"] = "qdf"
    """Which model."""
    model: QDFConfig
    """The field, the orbitals and the networks."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1e-2)
    """Optimiser and schedule."""
    loss: LossWeights = LossWeights()
    """Weights of the loss terms of gradient descent: by default the orbitals learn the Hohenberg-Kohn map, and the
    readout, afterwards, energies and forces. Weights for these train all of the model on them, slowly."""
    steps: int = Field(500, ge=1)
    """Optimiser steps in all."""
    readout: ReadoutSettings | None = ReadoutSettings()
    """How the readout is fitted after the last step; ``null`` leaves it as the steps made it."""
    grid_level: int = Field(1, ge=0, le=MAX_GRID_LEVEL)
    """Grid for training (validation takes the model's own)."""
    rotate: bool = True
    """Turn every batch at random: what the smaller grid gets wrong then averages out, and orientation is unlearned."""
    references_ev: dict[str, float] | None = None
    """Element -> energy of the isolated atom at the data's level of theory, eV (0 for atomization energies); by default
    the least-squares fit to the training energies, with which molecules do not dissociate to the right energy."""

    @model_validator(mode="after")
    def _energies_are_learned(self) -> TrainingSettings:
        if self.readout is None and not (self.loss.energy or self.loss.forces):
            raise ValueError(
                "no readout is fitted and the loss weights of energy and forces are zero: nothing to learn"
            )
        return self

    @model_validator(mode="after")
    def _references_of_all_elements(self) -> TrainingSettings:
        if self.references_ev is not None and set(self.references_ev) != set(self.model.elements):
            raise ValueError(
                f"references_ev is given for {sorted(self.references_ev)}; the model has {list(self.model.elements)}"
            )
        return self
