from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.summary import summary
from ase_mlwave.data.writers import check_output, write_dataset

RECORD = Record(
    numbers=np.array([8, 1]),
    positions=np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.8]]),
    energy=-75.0,
    forces=np.array([[0.01, 0.02, 0.03], [-0.01, -0.02, -0.03]]),
    charge=-1,
    info={"split": "train"},
    dipole=np.array([0.1, -0.2, 0.7]),
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
    np.testing.assert_allclose(after.dipole, RECORD.dipole, atol=1e-8)  # type: ignore[arg-type]
    assert "1 structures, 1 energies, 1 forces, 0 matrices, 1 dipoles" in summary(dataset)


def test_outputs_are_checked_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known kinds"):
        check_output(tmp_path / "data.npz")
    (tmp_path / "there.db").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        check_output(tmp_path / "there.db")
    with pytest.raises(FileNotFoundError, match="no folder"):
        check_output(tmp_path / "nowhere" / "data.db")


@pytest.mark.parametrize("suffix", ["extxyz", "db"])
def test_entries_of_users_survive_every_direction(tmp_path: Path, suffix: str) -> None:
    info = {"status": "failed", "reason": "x", "geometry_hash": "abc", "id": 7, "name": "007", "split": "train"}
    write_dataset(tmp_path / f"a.{suffix}", Dataset((RECORD.with_info(**info),), "hf/sto-3g", "here"))
    once = read_dataset(tmp_path / f"a.{suffix}")
    assert once[0].info == info
    write_dataset(tmp_path / "b.db", once)
    write_dataset(tmp_path / "c.extxyz", read_dataset(tmp_path / "b.db"))
    again = read_dataset(tmp_path / "c.extxyz")
    assert again[0].info == info
    assert (again[0].charge, again.level) == (-1, "hf/sto-3g")


def test_database_says_what_it_merges(tmp_path: Path) -> None:
    given = Dataset((RECORD, RECORD.with_info(index=2)), "hf/sto-3g", "here")
    with pytest.warns(UserWarning, match=r"a.db: 1 record is a copy of others in geometry and labels, and merged"):
        write_dataset(tmp_path / "a.db", given)
    assert [record.info for record in read_dataset(tmp_path / "a.db")] == [{"split": "train", "index": 2}]
    write_dataset(tmp_path / "a.extxyz", given)
    assert len(read_dataset(tmp_path / "a.extxyz")) == 2


@pytest.mark.parametrize("suffix", ["extxyz", "db"])
def test_contradictions_are_not_written(tmp_path: Path, suffix: str) -> None:
    given = Dataset((RECORD, replace(RECORD, energy=-75.2)), "hf/sto-3g", "here")
    with pytest.raises(ValueError, match=r"records 0 and 1 of here .* their labels differ: energy by 0.2 Hartree"):
        write_dataset(tmp_path / f"a.{suffix}", given)
    assert not list(tmp_path.iterdir())
