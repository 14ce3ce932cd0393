"""Today's figures are those that were recorded before the package was rebuilt (``record.py``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pyscf.scf import hf
from threadpoolctl import threadpool_limits

from tests.golden.figures import FIGURES, LOOSE, SLOW, TOLERANCES, ZERO
from tests.golden.record import stored

recorded = cache(stored)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Iterator[None]:
    """Keep to one thread, whose sums have one order, and to an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hf, "MUTE_CHKFILE", True)
    with threadpool_limits(limits=1):
        yield


def difference(found: np.ndarray, golden: np.ndarray) -> float:
    """Return the largest difference relative to the largest number; infinite where shapes or words differ."""
    if found.shape != golden.shape:
        return np.inf
    if found.dtype.kind not in "fiub" or golden.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(found, golden) else np.inf
    if not golden.size:
        return 0.0
    error, size = np.abs(found - golden).max(), np.abs(golden).max()
    return float(error / size if size else error)


def both_zero(key: str, *arrays: np.ndarray) -> bool:
    """Tell whether all numbers are what rounding leaves of zero."""
    limits = [limit for end, limit in ZERO.items() if key.endswith(end)]
    return bool(limits) and all(array.size and np.abs(array).max() < limits[0] for array in arrays)


def left_to_rounding(key: str, *figures: dict[str, np.ndarray]) -> bool:
    """Tell whether numbers are both zero; of the atoms that are covered worst, whether all are covered fully."""
    source = key.replace("badly_covered", "novelty")
    return both_zero(source, *(each[source] for each in figures if source in each))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FIGURES]
)
def test_figures_are_those_recorded(name: str, tmp_path: Path) -> None:
    found = {key: np.asarray(array) for key, array in FIGURES[name](tmp_path).items()}
    golden = {key.removeprefix(f"{name}/"): array for key, array in recorded().items() if key.startswith(f"{name}/")}
    assert golden
    assert sorted(golden.keys() - found.keys()) == []  # what is new is no loss
    decided = [key for key in golden if not left_to_rounding(key, found, golden)]
    errors = {key: difference(found[key], golden[key]) for key in decided}
    limits = {key: LOOSE.get((name, key.split(".")[-1]), TOLERANCES.get(name, 1e-9)) for key in errors}
    assert {key: error for key, error in errors.items() if not error <= limits[key]} == {}


def test_every_recorded_figure_is_computed() -> None:
    assert {key.split("/")[0] for key in recorded()} == set(FIGURES)
