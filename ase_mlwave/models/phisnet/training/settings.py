"""Settings of a training run; attribute docstrings are the documentation of ``mlwave train``'s YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ase.calculators.calculator import InputError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.errors import suggestion
from ase_mlwave.models.folder import read_config
from ase_mlwave.models.phisnet.config import PRESETS, PhiSNetConfig
from ase_mlwave.models.training.settings import RunSettings
from ase_mlwave.models.training.yaml_settings import parse_settings, read_yaml

__all__ = ["LossWeights", "TrainingSettings"]


class LossWeights(BaseModel):
    """What the loss is made of; a weight of 0 leaves a term out and saves its cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hamiltonian: float = Field(1.0, ge=0)
    """Mean absolute plus root mean square error of H, per Hartree; of a learned potential root mean square alone."""
    overlap: float = Field(0.0, ge=0)
    """The same for the overlap head."""
    core: float = Field(0.0, ge=0)
    """The same for the core-Hamiltonian head, per Hartree."""
    occupied: float = Field(0.0, ge=0)
    """Mean absolute error of H's expectation values in the true occupied orbitals, per Hartree: to first order that of
    the orbital energies, whose sum is the error of the wavefunction energy."""
    alignment: float = Field(0.0, ge=0)
    """Error of H between the true occupied and virtual orbitals (root mean square), per Hartree."""
    density: float = Field(0.0, ge=0)
    """The same divided by the gaps between these orbitals: the density's error, to first order in that of H."""
    energy: float = Field(0.0, ge=0)
    """Mean absolute error of the wavefunction energy, per Hartree."""
    forces: float = Field(0.0, ge=0)
    """Mean absolute error of its forces, per Hartree/Bohr."""
    dipole: float = Field(0.0, ge=0)
    """Mean absolute error of the components of the dipole of its density, per e Bohr."""

    @property
    def needs_states(self) -> bool:
        """Whether a term looks at what follows from the eigenvectors of H."""
        return self.energy > 0 or self.forces > 0 or self.dipole > 0

    @property
    def needs_orbitals(self) -> bool:
        """Whether a term looks at the true orbitals."""
        return self.occupied > 0 or self.alignment > 0 or self.density > 0

    @property
    def needs_matrices(self) -> bool:
        """Whether a term compares matrices."""
        return self.needs_orbitals or self.hamiltonian > 0 or self.overlap > 0 or self.core > 0

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossWeights:
        if not any(self.model_dump().values()):
            raise ValueError("all loss weights are zero: nothing to learn")
        return self


class TrainingSettings(RunSettings):
    """A whole training run of a PhiSNet."""

    kind: Literal["phisnet"] = "phisnet"
    """Which model."""
    matrices: str | None = None
    """Data set whose Hamiltonians stand beside the energies of ``data`` at the same geometries, for terms such as
    ``loss.density``: a level without matrices, such as CCSD(T), then keeps the density of one that has them."""
    start_from: str | None = None
    """Model (name or folder) whose weights to start from: fine-tuning and transfer learning. A model with a half (a
    third...) of ``model.features`` or ``model.hidden`` is widened without changing what it predicts."""
    model: PhiSNetConfig
    """The network; ``preset: paper`` (or ``edge-frame``) fills in what is not given."""
    precision: Literal["float32", "float64", "bf16-mixed"] = "float32"  # type: ignore[assignment]
    """Precision of the network; geometry, matrices and eigenproblems are always float64. ``bf16-mixed``: weights are
    float32, and in steps the layers multiply in bfloat16, all but the heads (`docs/training.md` has measurements)."""
    compile: bool = False
    """Compile the network's layers by ``torch.compile``: minutes before the first step, and no second derivatives, so
    not for ``loss.forces``. Where it fails a warning says so, and they run as they are."""
    train_only: Literal["energies"] | None = None
    """Train this part of ``start_from`` alone, on ``loss.energy`` and ``loss.forces``: matrices, and all that follows
    from them (``functional``, ``scf``, initial guesses, the domain), stay as they are to the last bit."""
    loss: LossWeights = LossWeights()
    """Weights of the loss terms."""
    cache: str | None = None
    """Folder in which integrals are kept for this run and later ones on the same molecules (`docs/training.md`); by
    default they are in memory where that takes less than a gigabyte, else in ``mlwave-cache`` beside the output."""
    workers: int | None = Field(None, ge=1)
    """Processes that fill that folder; by default one for every CPU of this process."""

    @model_validator(mode="after")
    def _derivatives_of_forces(self) -> TrainingSettings:
        if self.compile and self.loss.forces:
            raise ValueError("compile=true has no second derivatives, which loss.forces needs; leave one of them out")
        return self

    @model_validator(mode="after")
    def _energies_of_a_model(self) -> TrainingSettings:
        if self.train_only and self.start_from is None:
            raise ValueError("train_only=energies trains those of a model; write start_from=MODEL")
        if self.train_only and (self.loss.needs_matrices or self.loss.dipole):
            raise ValueError(
                "train_only=energies leaves matrices as they are; set all weights but loss.energy and loss.forces to 0"
            )
        return self

    @model_validator(mode="after")
    def _a_potential_learns_from_matrices(self) -> TrainingSettings:
        unknown = ["alignment", "dipole"] + (["energy", "forces"] if self.model.energy_from == "matrix" else [])
        others = [name for name in unknown if getattr(self.loss, name)]
        if self.model.auxiliary is not None and others:
            words = " ".join(f"loss.{name}=0" for name in others)
            raise ValueError(
                f"a learned potential (model.auxiliary) knows no loss of {', '.join(others)}; write {words}"
            )
        return self

    @model_validator(mode="after")
    def _matrices_for_a_term(self) -> TrainingSettings:
        if self.matrices is not None and not self.loss.needs_matrices:
            raise ValueError(f"no term of the loss looks at matrices={self.matrices!r}; write loss.density=0.2")
        return self

    @model_validator(mode="after")
    def _dipoles_of_densities(self) -> TrainingSettings:
        if self.loss.dipole and self.model.energy_from == "atoms":
            raise ValueError("energy_from=atoms makes no density in training; write loss.dipole=0")
        return self

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> TrainingSettings:
        """Read settings from a YAML file and ``key=value`` words.

        Parameters
        ----------
        path : str or path
            YAML file; ``model.preset`` names an entry of ``PRESETS`` that fills in what ``model`` leaves out.
            Without ``model``, or without its ``elements``, the network is that of ``start_from``; what is given, such
            as another ``level``, stands.
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
        elif values.get("start_from") and "elements" not in (model or {}):
            start = read_config(str(values["start_from"]))
            if start.kind != "phisnet":
                raise InputError(f"start_from={values['start_from']!r} is not a PhiSNet")
            values["model"] = {**start.settings, **(model or {})}
            loss = values.get("loss")
            if not (isinstance(loss, dict) and (loss.get("energy") or loss.get("forces"))):
                values["model"].pop("overlap_penalty", None)  # the run chooses it for the molecules that it is for
        return parse_settings(cls, values)
