"""Settings of the representation and their refusals."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ase_mlwave.models.amons.slatm.config import SlatmConfig


def test_elements_are_sorted_by_atomic_number() -> None:
    config = SlatmConfig(elements=("O", "H", "C"))
    assert config.elements == ("H", "C", "O")
    assert config.numbers == (1, 6, 8)


def test_settings_survive_json() -> None:
    config = SlatmConfig(elements=("H", "Cl"), smooth=False, cutoff_angstrom=5.5)
    assert SlatmConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ()}, "distinct chemical symbols"),
        ({"elements": ("H", "H")}, "distinct chemical symbols"),
        ({"elements": ("H", "Xx")}, r"distinct chemical symbols, got \['H', 'Xx'\]"),
        ({"elements": ("H",), "switch_angstrom": 5.0}, "must not exceed cutoff_angstrom"),
        ({"elements": ("H",), "cutoff_angstrom": 0.3}, "no bond is shorter"),
        ({"elements": ("H",), "angle_step": 0.2}, r"angle_step must lie between 0.01 and 2 times angle_width \(0.05\)"),
        ({"elements": ("H",), "cutoff": 4.0}, "Extra inputs"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SlatmConfig.model_validate(settings)
