"""ASE calculators whose energies and forces come from a learned electronic structure.

The names in ``__all__`` are the public ones: ``docs/api.md`` says what each is for, and they keep their meaning from
version to version. What lies in the rooms below is private and may move. Importing the package imports neither torch
nor PySCF: names are loaded when they are first used. What importing does is tell ASE the calculators' names, see
`ase_mlwave.plugin`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ase_mlwave.models.kinds import KINDS
from ase_mlwave.plugin import register_stand_ins

if TYPE_CHECKING:
    from ase_mlwave.calculators import load_calculator
    from ase_mlwave.calculators.amons import AmonsCalculator
    from ase_mlwave.calculators.phisnet import PhiSNetCalculator
    from ase_mlwave.calculators.qdf import QDFCalculator
    from ase_mlwave.data.readers import read_dataset
    from ase_mlwave.data.record import Dataset, Record
    from ase_mlwave.data.splits import assign_splits, formula_split
    from ase_mlwave.data.writers import write_dataset
    from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
    from ase_mlwave.evaluation.energies import evaluate
    from ase_mlwave.models.amons import amons_of, find_amons
    from ase_mlwave.models.amons.config import FitSettings
    from ase_mlwave.models.amons.learning.settings import Displacements
    from ase_mlwave.models.folder import ModelFolder, list_models
    from ase_mlwave.models.training.start import train
    from ase_mlwave.plotting.levels import plot_levels
    from ase_mlwave.plotting.planes import Plane, plot_density, plot_signed
    from ase_mlwave.plotting.spectra import plot_spectrum
    from ase_mlwave.plotting.surfaces import View, plot_charges, plot_isosurface
    from ase_mlwave.quantum.preconditioner import precondition
    from ase_mlwave.reference.calculator import ReferenceCalculator
    from ase_mlwave.reference.labelling import label_geometries
    from ase_mlwave.reference.levels import LevelOfTheory
    from ase_mlwave.reference.sampling import sample_geometries

__version__ = "0.2.0"
__all__ = [
    "AmonsCalculator",
    "Dataset",
    "Displacements",
    "FitSettings",
    "LevelOfTheory",
    "ModelFolder",
    "OutOfDomainError",
    "OutOfDomainWarning",
    "PhiSNetCalculator",
    "Plane",
    "QDFCalculator",
    "Record",
    "ReferenceCalculator",
    "View",
    "__version__",
    "amons_of",
    "assign_splits",
    "evaluate",
    "find_amons",
    "formula_split",
    "label_geometries",
    "list_models",
    "load_calculator",
    "plot_charges",
    "plot_density",
    "plot_isosurface",
    "plot_levels",
    "plot_signed",
    "plot_spectrum",
    "precondition",
    "read_dataset",
    "sample_geometries",
    "train",
    "write_dataset",
]

#: Public name -> the module that defines it.
_HOMES = {
    "Dataset": "ase_mlwave.data.record",
    "Displacements": "ase_mlwave.models.amons.learning.settings",
    "FitSettings": "ase_mlwave.models.amons.config",
    "LevelOfTheory": "ase_mlwave.reference.levels",
    "ModelFolder": "ase_mlwave.models.folder",
    "OutOfDomainError": "ase_mlwave.errors",
    "OutOfDomainWarning": "ase_mlwave.errors",
    "Plane": "ase_mlwave.plotting.planes",
    "Record": "ase_mlwave.data.record",
    "ReferenceCalculator": "ase_mlwave.reference.calculator",
    "View": "ase_mlwave.plotting.surfaces",
    "amons_of": "ase_mlwave.models.amons",
    "assign_splits": "ase_mlwave.data.splits",
    "evaluate": "ase_mlwave.evaluation.energies",
    "find_amons": "ase_mlwave.models.amons",
    "formula_split": "ase_mlwave.data.splits",
    "label_geometries": "ase_mlwave.reference.labelling",
    "list_models": "ase_mlwave.models.folder",
    "load_calculator": "ase_mlwave.calculators",
    "plot_charges": "ase_mlwave.plotting.surfaces",
    "plot_density": "ase_mlwave.plotting.planes",
    "plot_isosurface": "ase_mlwave.plotting.surfaces",
    "plot_levels": "ase_mlwave.plotting.levels",
    "plot_signed": "ase_mlwave.plotting.planes",
    "plot_spectrum": "ase_mlwave.plotting.spectra",
    "precondition": "ase_mlwave.quantum.preconditioner",
    "read_dataset": "ase_mlwave.data.readers",
    "sample_geometries": "ase_mlwave.reference.sampling",
    "train": "ase_mlwave.models.training.start",
    "write_dataset": "ase_mlwave.data.writers",
    **{name: module for module, _, name in (kind.calculator.partition(":") for kind in KINDS.values())},
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
