"""Fragments of a molecule, by the names that scripts import: `ase_mlwave.models.amons` is their home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ase_mlwave.models import amons as _home

if TYPE_CHECKING:
    from ase_mlwave.models.amons import Amon, amon_geometries, amons_of, find_amons, relax_amons

__all__ = ["Amon", "amon_geometries", "amons_of", "find_amons", "relax_amons"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_home, name)
