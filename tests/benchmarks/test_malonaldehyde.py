"""Kernels on cheaper levels: what is kept, and what is no label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ase_mlwave.data.record import Record
from benchmarks import malonaldehyde
from benchmarks.kernels import Energies, kept
from benchmarks.malonaldehyde import Queries, on_base

RECORDS = [Record(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.4 + i / 10]]), energy=-1.0 - i) for i in range(6)]


def test_energies_are_computed_once(tmp_path: Path) -> None:
    asked: list[float] = []

    def level(records: Sequence[Record]) -> Energies:
        asked.extend(float(record.positions[1, 2]) for record in records)
        return np.array([float(record.energy or 0.0) for record in records])

    path = tmp_path / "level.json"
    assert kept(path, level)(RECORDS[:3]).tolist() == [-1.0, -2.0, -3.0]
    assert kept(path, level)(RECORDS[2:5]).tolist() == [-3.0, -4.0, -5.0]
    assert len(asked) == 5


def test_nonsense_is_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """One energy of the cheaper level is off by 2 Hartree: neither the shift nor the kernel sees it."""
    learned: list[float] = []

    def kernel(training: Sequence[Record], queries: Sequence[Record]) -> Energies:
        learned.extend(float(record.energy or 0.0) for record in training)
        return np.zeros(len(queries))

    monkeypatch.setattr(malonaldehyde, "kernel", kernel)
    energies = np.array([float(record.energy or 0.0) for record in RECORDS])
    low = energies - 0.01
    low[1] += 2.0
    queries = Queries(RECORDS[:2], RECORDS[2:4], RECORDS[4:5], RECORDS[5:])
    rows, found = on_base("level", (low, energies - 0.01), RECORDS, queries, [6, 7])
    assert [row[1] for row in rows] == ["5", "5"]
    assert float(rows[0][3]) == pytest.approx(0.0, abs=0.01)
    np.testing.assert_allclose(learned, 0.01)
    np.testing.assert_allclose(found, energies - 0.01)
