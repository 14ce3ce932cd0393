"""The table of quantities: its factors, and the page of the documentation that shows it."""

from __future__ import annotations

from pathlib import Path

import ase.units
import pytest
from ase.outputs import all_outputs

from ase_mlwave.properties import EXTRAS, LABELS, PROPERTIES, RESULTS, Property

PAGE = Path(__file__).parents[1] / "docs" / "properties.md"
#: Values in ASE's units of what the table's units are made of.
VALUES = {"Hartree": ase.units.Hartree, "Bohr": ase.units.Bohr, "eV": 1.0, "Angstrom": 1.0, "e": 1.0, "": 1.0}


def value_of(unit: str) -> float:
    """Return a unit such as ``"Hartree/Bohr^3"`` in ASE's units."""
    above, _, below = unit.partition("/")
    name, _, power = below.partition("^")
    value = 1.0
    for factor in above.split("*"):
        value *= VALUES[factor]
    return value / VALUES[name] ** int(power or 1)


@pytest.mark.parametrize("each", PROPERTIES.values(), ids=lambda each: each.name)
def test_factors_are_those_of_the_units(each: Property) -> None:
    assert each.factor == pytest.approx(value_of(each.unit) / value_of(each.ase_unit), rel=1e-14)
    assert each.from_ase(each.to_ase(0.7)) == pytest.approx(0.7, rel=1e-15)


def test_results_are_ases_and_nothing_has_two_places() -> None:
    assert set(RESULTS) <= set(all_outputs)
    assert set(LABELS) <= set(RESULTS)
    assert not RESULTS.keys() & EXTRAS.keys()


def row(each: Property) -> str:
    shape = "" if each.shape is None else f"({', '.join(map(str, each.shape))}{',' if len(each.shape) == 1 else ''})"
    kind = "label, result" if each.is_label else "result" if each.is_result else "extra"
    return f"| `{each.name}` | {kind} | {shape} | {each.ase_unit} | {each.text} |"


def test_the_page_shows_the_table() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [row(each) for each in PROPERTIES.values()]
