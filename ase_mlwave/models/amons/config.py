"""Settings of a model learned from amons, and of its fit: classes whose attribute docstrings are the documentation."""

from __future__ import annotations

from typing import Literal

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.text import PlainText

__all__ = ["AmonConfig", "BlockSizes", "FitSettings"]


class FitSettings(BaseModel):
    """Say how a model is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hyperparameters: Literal["rule", "likelihood"] = "rule"
    """Widths and penalties as the publication has them, or those that make the training data most likely; the search
    starts from the values below, which remain where there are fewer than twenty rows to spare."""
    likelihood_molecules: int = Field(400, ge=2)
    """Training molecules, drawn at random where there are more, whose likelihood is maximised."""
    penalty: float = Field(1e-4, ge=0)
    """lambda of energies, in units of the kernel."""
    force_penalty: float = Field(1e-4, ge=0)
    """lambda of derivatives along directions, in units of the kernel per Bohr^2."""
    scale: float = Field(1.0, gt=0)
    """What the widths of the publication's rule are multiplied by."""
    directions: int | None = Field(None, ge=0)
    """Directions per molecule along which forces are learned; None for all 3N, 0 for energies alone. Fewer are random
    and orthogonal."""
    baseline: Literal["completed", "published"] = "completed"
    """What is taken off the energies: dressed atoms by least squares, and where compositions are linearly dependent
    free atoms, as they are (as published) or changed by as little as fits the energies."""
    basis: int | None = Field(None, ge=1)
    """Environments of an element that energies are expanded in; None takes all, and every direction. A basis costs time
    in proportion to the number of forces, where None costs its square in memory and its cube in time; then
    ``hyperparameters`` must be ``"rule"``."""
    variance_rows: int = Field(4000, ge=1)
    """Rows (energies and directions) up to which all are kept for predictive variances. Larger fits keep the energies
    alone, and larger bases as many environments: variances become too large rather than too small."""

    @model_validator(mode="after")
    def _searchable(self) -> FitSettings:
        if self.basis is not None and self.hyperparameters == "likelihood":
            raise ValueError("a fit with a basis cannot search for hyperparameters: leave basis or likelihood out")
        return self

    @classmethod
    def for_energies(cls) -> FitSettings:
        """Return the settings with which energies alone are learned.

        Differs from the paper: widths and penalty make 200 amons most likely, which halves the errors of
        peptides (``python -m benchmarks.amons_calibration --defaults --displaced 0``).
        """
        return cls(directions=0, hyperparameters="likelihood", likelihood_molecules=200)

    @classmethod
    def for_forces(cls) -> FitSettings:
        """Return the settings with which forces of many displaced geometries are learned.

        To go with `SlatmConfig.for_forces`. Widths are five times the rule's, because the most different environments
        of an element, in hot geometries, say little of how smooth the energy is.
        """
        return cls(penalty=1e-6, force_penalty=1e-6, scale=5.0, basis=1600)

    @classmethod
    def for_corrections(cls) -> FitSettings:
        """Return the settings with which the difference of two levels is learned: as forces, but smoother."""
        return cls(penalty=1e-6, force_penalty=1e-5, scale=10.0, basis=1600)


class BlockSizes(BaseModel):
    """Sizes of the arrays of one element."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environments: int = Field(ge=1)
    """Training environments, or those of the basis."""
    columns: int = Field(ge=1)
    """Features in use."""
    vectors: int = Field(ge=0)
    """Training environments with slopes: all or none."""
    slopes: int = Field(ge=0)
    """Slopes that are kept for variances."""


class AmonConfig(BaseModel):
    """What a fitted model is: its chemistry, its representation, and the sizes of its arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: tuple[str, ...]
    """Chemical symbols that the model knows."""
    level: PlainText
    """Level of theory of the training data."""
    base: PlainText | None = None
    """Level of theory that the model corrects: it was fitted to ``level`` minus this one, and a calculator adds it."""
    representation: SlatmConfig
    """What an atom sees."""
    fit: FitSettings
    """How the model was fitted; penalties and scale are those that were used."""
    blocks: dict[str, BlockSizes]
    """Element -> sizes."""
    n_molecules: int = Field(ge=1)
    """Training molecules."""
    n_directions: int = Field(ge=0)
    """Rows of directions that are kept for variances."""
    n_basis: int = Field(0, ge=0)
    """Basis environments that are kept for variances; 0 where all training environments are the basis."""
    amons: tuple[str, ...] = ()
    """SMILES, or formulas, of the training molecules."""

    @model_validator(mode="after")
    def _consistent(self) -> AmonConfig:
        known = [set(self.representation.elements), set(self.blocks)]
        if any(set(self.elements) != other for other in known):
            raise ValueError(f"elements {list(self.elements)} are not those of the representation and of the arrays")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of ``elements``."""
        return tuple(chemical_symbols.index(symbol) for symbol in self.elements)

    @property
    def basis_share(self) -> int:
        """Basis environments of an element that are kept for variances, at most."""
        return max(1, self.fit.variance_rows // len(self.elements))

    @property
    def n_rows(self) -> int:
        """Rows that are kept for variances."""
        return self.n_basis or self.n_molecules + self.n_directions
