"""Tests of `ase_mlwave.models.training.cache`; those with molecules are in `test_prepared.py` of PhiSNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ase_mlwave.models.training.cache import Cache


@pytest.mark.parametrize("order", ["C", "F", "every second"])
def test_an_entry_is_read_back_whatever_the_order_in_memory(tmp_path: Path, order: str) -> None:
    table = np.arange(24.0).reshape(4, 6)
    arrays = {"C": table, "F": np.asfortranarray(table), "every second": np.repeat(table, 2, axis=1)[:, ::2]}
    cache = Cache(tmp_path)
    cache.write("ab", {"table": arrays[order]})
    found = cache.read("ab")
    assert found is not None
    np.testing.assert_array_equal(found["table"], table)
