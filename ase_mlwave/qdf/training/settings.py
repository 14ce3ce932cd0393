"""Settings of a training run; attribute docstrings are the documentation of ``mlwave train``'s YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.qdf.config import MAX_GRID_LEVEL, QDFConfig
from ase_mlwave.settings import parse_settings, read_yaml
from ase_mlwave.training.settings import OptimiserSettings, RunSettings

__all__ = ["LossWeights", "TrainingSettings"]


class LossWeights(BaseModel):
    """What the loss is made of; a weight of 0 leaves a term out and saves its cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy: float = Field(5.0, ge=0)
    """Mean absolute error of the energy per atom, per Hartree: small and large molecules count alike."""
    forces: float = Field(1.0, ge=0)
    """Mean absolute error of the forces' components, per Hartree/Bohr."""
    potential: float = Field(0.003, ge=0)
    """Relative error (root mean square over space) of the external potential that the Hohenberg-Kohn map makes of the
    density."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossWeights:
        if not (self.energy or self.forces):
            raise ValueError("the loss weights of energy and forces are both zero: nothing to learn")
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
    """Weights of the loss terms."""
    grid_level: int = Field(1, ge=0, le=MAX_GRID_LEVEL)
    """Grid for training (validation takes the model's own)."""
    rotate: bool = True
    """Turn every batch at random: what the smaller grid gets wrong then averages out, and orientation is unlearned."""
    references_ev: dict[str, float] | None = None
    """Element -> energy of the isolated atom at the data's level of theory, eV (0 for atomization energies); by default
    the least-squares fit to the training energies, with which molecules do not dissociate to the right energy."""

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> TrainingSettings:
        """Read settings from a YAML file and ``key=value`` words, or raise ``InputError`` that says what is wrong."""
        return parse_settings(cls, read_yaml(path, overrides))

    @model_validator(mode="after")
    def _references_of_all_elements(self) -> TrainingSettings:
        if self.references_ev is not None and set(self.references_ev) != set(self.model.elements):
            raise ValueError(
                f"references_ev is given for {sorted(self.references_ev)}; the model has {list(self.model.elements)}"
            )
        return self
