"""Settings of an evaluation; attribute docstrings are the help of ``mlwave evaluate`` and the words of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EvaluationSettings"]


class EvaluationSettings(BaseModel):
    """Say what is measured of a model, and on which molecules."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    split: str | None = None
    """Records to use, e.g. test."""
    level: tuple[str, ...] | None = None
    """PhiSNet only: energy levels to measure (an option that is repeated, in a recipe a list)."""
    cycles: bool | None = None
    """PhiSNet only: count SCF cycles."""
    limit: int = Field(default=0, ge=0)
    """Use the first N records only; 0 for all."""
