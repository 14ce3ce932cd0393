"""Past which deviation a calculator warns."""

from __future__ import annotations

import numpy as np
import pytest

from ase_mlwave.models.amons.thresholds import library_limits, library_thresholds, query_limits, query_thresholds
from ase_mlwave.units import HARTREE

KCAL = 23.0605


def test_query_is_held_to_chemical_accuracy() -> None:
    limits = [query_thresholds(n)["energy_uncertainty"] * KCAL for n in (None, 3, 20, 100)]
    assert limits == pytest.approx([1, 1, 1, 5], rel=2e-3)


def test_library_is_held_to_what_it_claims_of_its_like() -> None:
    deviations = np.linspace(0, 1, 11) / HARTREE
    assert library_thresholds(deviations)["energy_uncertainty"] == pytest.approx(1.8)
    assert library_thresholds(deviations / 1000)["energy_uncertainty"] * KCAL == pytest.approx(1, rel=2e-3)


def test_limits_lie_well_past_thresholds() -> None:
    assert query_limits()["novelty"] > 1  # which the query itself may have
    thresholds = library_thresholds(np.linspace(0, 1, 11) / HARTREE)
    assert library_limits(thresholds) == pytest.approx({"energy_uncertainty": 9, "novelty": 0.45})
    assert all(limit > 2 * thresholds[name] for name, limit in library_limits(thresholds).items())
