"""Settings of a fit to a data set; attribute docstrings are the documentation of ``mlwave train``'s YAML file."""

from __future__ import annotations

from typing import Any, Literal

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ase_mlwave.errors import suggestion
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.training.settings import DataSettings

__all__ = ["LibrarySettings", "TrainingSettings"]

_KNOWN = tuple(name for name in SlatmConfig.model_fields if name != "elements")


class LibrarySettings(BaseModel):
    """What the model is for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: tuple[str, ...]
    """Chemical symbols."""
    level: str
    """Level of theory of the data."""
    base: str | None = None
    """Level of theory that the model corrects, such as gfn2-xtb: it labels the data, too, and the difference is
    learned."""
    representation: dict[str, Any] = Field(default_factory=dict)
    """Settings of the representation that differ from those that learn forces best (`SlatmConfig.for_forces`)."""

    @field_validator("elements")
    @classmethod
    def _in_order(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        return SlatmConfig(elements=elements).elements

    @model_validator(mode="after")
    def _known_settings(self) -> LibrarySettings:
        try:
            self.slatm()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"representation.{where}: {first['msg']}. {suggestion(where, _KNOWN)}") from None
        return self

    def slatm(self) -> SlatmConfig:
        """Return the settings of the representation."""
        return SlatmConfig(**SlatmConfig.for_forces(self.elements).model_dump() | self.representation)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of ``elements``."""
        return tuple(chemical_symbols.index(symbol) for symbol in self.elements)


class TrainingSettings(DataSettings):
    """A fit of a kernel regression on atomic environments to energies and forces.

    At the records of ``valid_split`` the learning curve is drawn; ``null`` for no curve.
    """

    kind: Literal["amons"] = "amons"
    """Which model."""
    model: LibrarySettings
    """Elements, level of theory and representation."""
    fit: FitSettings = FitSettings.for_forces()
    """Basis, widths and penalties."""
    curve: tuple[float, ...] = (0.125, 0.25, 0.5)
    """Shares of the training set from which the learning curve is made, beside the whole."""

    @model_validator(mode="after")
    def _shares(self) -> TrainingSettings:
        if any(not 0 < share < 1 for share in self.curve):
            raise ValueError(f"curve must hold shares between 0 and 1, got {list(self.curve)}")
        return self
