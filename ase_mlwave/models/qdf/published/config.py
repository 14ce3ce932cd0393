"""Settings of the published quantum deep field: one class, whose attribute docstrings are the documentation."""

from __future__ import annotations

from typing import Literal

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ase_mlwave.models.elements import Elements
from ase_mlwave.text import PlainText

__all__ = ["PublishedConfig"]


class PublishedConfig(BaseModel):
    """Hyperparameters of the published model; the defaults are those of its 6-31G model of QM9."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Literal["published"] = "published"
    """Points of a cubic grid around every atom, summed without weights."""
    elements: Elements
    """Chemical symbols that the model knows."""
    level: PlainText
    """Level of theory of the training data."""
    n_inner: int = Field(6, ge=1, le=64)
    """Functions of type 1s of every element but H and He (the 6 of 6-31G)."""
    n_outer: int = Field(4, ge=1, le=64)
    """Functions of type 2s, and of type 2p, of those elements, and of type 1s of H and He (the 3 + 1 of 6-31G)."""
    radius_angstrom: float = Field(0.75, gt=0, le=10)
    """Radius of the sphere of points around every atom."""
    grid_interval_angstrom: float = Field(0.3, gt=0.01)
    """Distance between neighbouring points."""
    width: int = Field(250, ge=1, le=16384)
    """Number d of molecular orbitals psi_n, and width of the energy functional."""
    functional_layers: int = Field(3, ge=1, le=64)
    """Dense layers of the energy functional."""
    map_width: int = Field(250, ge=1, le=16384)
    """Width of the Hohenberg-Kohn map."""
    map_layers: int = Field(3, ge=0, le=64)
    """Dense layers of the Hohenberg-Kohn map."""
    pooling: Literal["sum", "mean"] = "sum"
    """Over the points of a molecule: the sum for extensive properties, the mean for intensive ones."""
    outputs: tuple[PlainText, ...] = ("atomization_energy",)
    """Names of the predicted energies, in the order of the last layer."""

    @field_validator("outputs")
    @classmethod
    def _distinct_outputs(cls, outputs: tuple[str, ...]) -> tuple[str, ...]:
        if not outputs or len(set(outputs)) < len(outputs):
            raise ValueError(f"outputs must be distinct names, got {list(outputs)}")
        return outputs

    @model_validator(mode="after")
    def _grid_of_sensible_size(self) -> PublishedConfig:
        if self.radius_angstrom / self.grid_interval_angstrom > 30:
            raise ValueError("the radius must be at most 30 grid intervals (about 113,000 points an atom)")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of ``elements``."""
        return tuple(chemical_symbols.index(e) for e in self.elements)

    def orbital_names(self) -> tuple[str, ...]:
        """Name the orbital types as published (``"H1s0"``, ``"C2p3"``), in the order of the model's rows."""
        return tuple(name for element in self.elements for name, _ in self.orbitals_of(element))

    def orbitals_of(self, element: str) -> tuple[tuple[str, int], ...]:
        """List the orbital types of an element.

        Parameters
        ----------
        element : str
            Chemical symbol.

        Returns
        -------
        tuple of (str, int)
            Published name and principal quantum number q; q = 1 comes first. As published, elements past neon have no
            functions with q > 2.
        """
        if chemical_symbols.index(element) <= 2:
            return tuple((f"{element}1s{i}", 1) for i in range(self.n_outer))
        core = [(f"{element}1s{i}", 1) for i in range(self.n_inner)]
        return (*core, *((f"{element}2{shape}{i}", 2) for shape in "sp" for i in range(self.n_outer)))
