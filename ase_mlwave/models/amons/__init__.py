"""Small molecules that spell a large one: fragments ("amons") of a query, and models learned from their energies.

Importing this package imports neither torch nor RDKit: the public names are loaded when they are first used.

Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase_mlwave.models.amons.fragments.geometry import amon_geometries
    from ase_mlwave.models.amons.fragments.relaxation import relax_amons
    from ase_mlwave.models.amons.fragments.selection import Amon, amons_of, find_amons

__all__ = ["Amon", "amon_geometries", "amons_of", "find_amons", "relax_amons"]

#: Public name -> the module that defines it.
_HOMES = {
    "Amon": "ase_mlwave.models.amons.fragments.selection",
    "amon_geometries": "ase_mlwave.models.amons.fragments.geometry",
    "amons_of": "ase_mlwave.models.amons.fragments.selection",
    "find_amons": "ase_mlwave.models.amons.fragments.selection",
    "relax_amons": "ase_mlwave.models.amons.fragments.relaxation",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
