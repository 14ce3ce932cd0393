from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ase_mlwave.models.qdf.config import QDFConfig, default_orbitals
from ase_mlwave.models.qdf.orbitals import AtomicOrbitals


@pytest.mark.parametrize("symbol", ["H", "C", "S", "Br"])
def test_default_orbitals_are_accepted(symbol: str) -> None:
    config = QDFConfig(elements=(symbol,))
    assert config.all_orbitals()[symbol] == default_orbitals(symbol)


def test_orbitals_start_at_the_given_exponents() -> None:
    config = QDFConfig(elements=("O", "H"), orbitals={"O": (("1s", 3.0), ("2p", 0.5))})
    exponents = AtomicOrbitals(config).exponents()
    assert config.elements == ("H", "O")
    assert exponents[1, :2].tolist() == pytest.approx([3.0, 0.5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ()}, "distinct chemical symbols"),
        ({"elements": ("H", "Xx")}, "distinct chemical symbols"),
        ({"orbitals": {"C": (("1s", 1.0),)}}, "elements are"),
        ({"orbitals": {"H": (("s1", 1.0),)}}, "names are such as"),
        ({"orbitals": {"H": (("1s", 60.0),)}}, "exponents lie between"),
        ({"grid_level": 6}, "less than or equal to 5"),
        ({"exponents": (2.0, 1.0)}, "rising"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QDFConfig(**{"elements": ("H",), **settings})
