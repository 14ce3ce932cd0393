"""ASE calculators whose energies and forces come from a learned electronic structure.

Importing the package imports neither torch nor PySCF: the public names are loaded when they are first used. What it
does is tell ASE the calculators' names, see `ase_mlwave.plugin`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ase_mlwave.plugin import register_stand_ins

if TYPE_CHECKING:
    from ase_mlwave.calculators.amons import AmonsCalculator
    from ase_mlwave.calculators.phisnet import PhiSNetCalculator
    from ase_mlwave.calculators.qdf import QDFCalculator

__version__ = "0.1.0"
__all__ = ["AmonsCalculator", "PhiSNetCalculator", "QDFCalculator", "__version__"]

#: Public name -> the module that defines it.
_HOMES = {
    "AmonsCalculator": "ase_mlwave.calculators.amons",
    "PhiSNetCalculator": "ase_mlwave.calculators.phisnet",
    "QDFCalculator": "ase_mlwave.calculators.qdf",
}

register_stand_ins()


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it (PEP 562)."""
    if name == "zoo":
        return import_module("ase_mlwave.zoo")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
