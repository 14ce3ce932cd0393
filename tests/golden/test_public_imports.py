"""Each import path that README, docs, examples and cards have mentioned goes on importing."""

from __future__ import annotations

from importlib import import_module

import pytest
from ase.calculators.calculator import get_calculator_class

PATHS = """
ase_mlwave: AmonsCalculator PhiSNetCalculator QDFCalculator zoo __version__
ase_mlwave.amons: find_amons amons_of
ase_mlwave.calculators: load_calculator
ase_mlwave.calculators.slices: Plane plot_density plot_signed
ase_mlwave.data.convert: atoms_from_record
ase_mlwave.data.database: DatasetFile read_database write_database
ase_mlwave.data.readers: read_dataset
ase_mlwave.data.record: Dataset Record
ase_mlwave.data.splits: assign_splits formula_split
ase_mlwave.data.writers: write_dataset
ase_mlwave.errors: OutOfDomainError OutOfDomainWarning
ase_mlwave.quantum.cubes: density_on_points
ase_mlwave.reference.calculator: ReferenceCalculator
ase_mlwave.reference.labelling: label_geometries
ase_mlwave.reference.levels: LevelOfTheory
ase_mlwave.zoo: ModelFolder list_models
"""


def _names() -> list[tuple[str, str]]:
    lines = (line.split(": ") for line in PATHS.split("\n") if line)
    return [(module, name) for module, names in lines for name in names.split()]


@pytest.mark.parametrize(("module", "name"), _names())
def test_public_name_imports(module: str, name: str) -> None:
    assert getattr(import_module(module), name) is not None


@pytest.mark.parametrize("kind", ["amons", "phisnet", "qdf"])
def test_ase_finds_the_calculator(kind: str) -> None:
    import ase_mlwave

    found = get_calculator_class(kind)
    assert isinstance(found, type)
    assert issubclass(getattr(ase_mlwave, found.__name__), found)
