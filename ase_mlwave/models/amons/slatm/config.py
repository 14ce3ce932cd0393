"""Settings of the representation: one class, whose attribute docstrings are the documentation."""

from __future__ import annotations

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.models.elements import Elements

__all__ = ["SlatmConfig"]


class SlatmConfig(BaseModel):
    """Elements, grids and cutoffs of aSLATM; the numbers are those of the publication (Angstrom and radians)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: Elements
    """Chemical symbols that the representation knows; kept in the order of their atomic numbers."""
    smooth: bool = True
    """Let pairs and triangles fade out before the cutoff, so that derivatives exist everywhere. Without it they end
    abruptly, as in the public implementation, and forces jump where an atom crosses the cutoff."""
    cutoff_angstrom: float = Field(4.8, gt=0, le=100)
    """Largest distance in pairs, and largest side of triangles."""
    switch_angstrom: float = Field(1.0, gt=0)
    """Length over which ``smooth`` fades pairs and sides out, up to the cutoff."""
    distance_width: float = Field(0.05, ge=0.001, le=100)
    """Standard deviation of the Gaussians of distances, Angstrom."""
    distance_step: float = Field(0.03, gt=0)
    """Spacing of the grid of distances, Angstrom (stretched a little such that the grid ends at the cutoff)."""
    angle_width: float = Field(0.05, ge=0.001, le=100)
    """Standard deviation of the Gaussians of angles, radians."""
    angle_step: float = Field(0.03, gt=0)
    """Spacing of the grid of angles, radians (stretched as that of distances)."""
    power: int = Field(6, ge=0, le=64)
    """Power of 1/x that weights the grid of distances."""
    triangle_power: float = Field(3.0, ge=0, le=64)
    """Power of 1/r of each side that weights triangles."""

    @classmethod
    def for_forces(cls, elements: tuple[str, ...]) -> SlatmConfig:
        """Return the settings that learn forces best.

        Differs from the paper: spectra of 0.05 Angstrom tell two geometries of one molecule apart as much as two
        molecules, so that forces at one say nothing of forces at the other. Here they are three times as wide, weight
        what is far away less steeply, and end at 4 Angstrom: amons lack what lies beyond
        (``python -m benchmarks.amons_forces``).
        """
        return cls(
            elements=elements,
            cutoff_angstrom=4.0,
            switch_angstrom=2.0,
            distance_width=0.15,
            distance_step=0.075,
            angle_width=0.2,
            angle_step=0.1,
            power=3,
            triangle_power=2.0,
        )

    @model_validator(mode="after")
    def _usable_lengths(self) -> SlatmConfig:
        if self.cutoff_angstrom < 0.5:
            raise ValueError(f"cutoff_angstrom must be 0.5 or more: no bond is shorter, got {self.cutoff_angstrom}")
        if self.switch_angstrom > self.cutoff_angstrom:
            raise ValueError(
                f"switch_angstrom ({self.switch_angstrom}) must not exceed cutoff_angstrom ({self.cutoff_angstrom})"
            )
        for name in ("distance", "angle"):
            step, width = getattr(self, f"{name}_step"), getattr(self, f"{name}_width")
            if not 0.01 * width <= step <= 2 * width:
                raise ValueError(f"{name}_step must lie between 0.01 and 2 times {name}_width ({width}), got {step}")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of ``elements``."""
        return tuple(chemical_symbols.index(e) for e in self.elements)
