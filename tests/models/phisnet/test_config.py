"""Settings that make no network are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ase_mlwave.models.phisnet.config import PhiSNetConfig


def test_elements_are_sorted_by_number() -> None:
    config = PhiSNetConfig(elements=("O", "H", "C"))
    assert config.elements == ("H", "C", "O")
    assert config.numbers == (1, 6, 8)
    assert PhiSNetConfig(**config.model_dump()) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"elements": ("H", "Xx")}, "distinct chemical symbols"),
        ({"elements": ()}, "distinct chemical symbols"),
        ({"elements": ("H", "H")}, "distinct chemical symbols"),
        ({"elements": ("X",)}, "distinct chemical symbols"),
        ({"cutoff": 0.0}, "greater than 0"),
        ({"features": 0}, "greater than or equal to 1"),
        ({"n_radial": 1}, "greater than or equal to 2"),
        ({"max_order": 9}, "less than or equal to 8"),
        ({"max_order": 2, "max_unnatural_order": 3}, "must not be above max_order"),
        ({"product": "tensor"}, "edge_frame"),
        ({"baseline": "minao"}, "sap"),
        ({"feature": 3}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PhiSNetConfig(**{"elements": ("H", "O"), **wrong})
