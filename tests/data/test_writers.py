from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import check_output, write_dataset

RECORD = Record(
    numbers=np.array([8, 1]),
    positions=np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.8]]),
    energy=-75.0,
    forces=np.array([[0.01, 0.02, 0.03], [-0.01, -0.02, -0.03]]),
    charge=-1,
    info={"split": "train"},
)


@pytest.mark.parametrize("suffix", ["extxyz", "xyz", "db"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.{suffix}"
    write_dataset(path, Dataset((RECORD,), "hf/sto-3g", "here"))
    dataset = read_dataset(path)
    (after,) = dataset
    assert dataset.level == "hf/sto-3g"
    assert dataset.splits == {"train": 1}
    assert after.charge == -1
    np.testing.assert_allclose(after.positions, RECORD.positions, atol=2e-8)
    np.testing.assert_allclose(after.forces, RECORD.forces, atol=1e-9)  # type: ignore[arg-type]
    assert after.energy == pytest.approx(-75.0, abs=1e-9)


def test_outputs_are_checked_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known kinds"):
        check_output(tmp_path / "data.npz")
    (tmp_path / "there.db").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        check_output(tmp_path / "there.db")
    with pytest.raises(FileNotFoundError, match="no folder"):
        check_output(tmp_path / "nowhere" / "data.db")
