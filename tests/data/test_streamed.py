"""Matrices that stay in the file."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ase_mlwave.data import database
from ase_mlwave.data.database import DatasetFile, write_database
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.streamed import StoredRecord, stream_dataset
from ase_mlwave.data.summary import summary

WATERS = Path(__file__).parent / "files" / "waters_pbe_def2svp.db"


def test_streamed_data_are_those_in_memory() -> None:
    """Hashes, splits, the line that describes them, and matrices, also in another process."""
    streamed, held = stream_dataset(WATERS), read_dataset(WATERS)
    assert streamed.content_hash() == held.content_hash()
    assert summary(streamed) == summary(held)
    for one, other in zip(streamed.split("valid"), held.split("valid"), strict=True):
        assert isinstance(one, StoredRecord)
        copy: Record = pickle.loads(pickle.dumps(one))
        assert len(pickle.dumps(one)) < other.matrices["hamiltonian"].nbytes
        for record in (one, copy, one.with_info(split="test")):
            assert record.content_hash() == other.content_hash()
            assert np.array_equal(record.matrices["hamiltonian"], other.matrices["hamiltonian"])
        assert replace(one, energy=0.0).content_hash() == replace(other, energy=0.0).content_hash()
        with pytest.raises(KeyError):
            one.matrices["overlap"]
        with pytest.raises(ValueError, match="must be symmetric"):
            replace(one, matrices={"hamiltonian": np.triu(np.ones((2, 2)))})


def test_matrices_are_read_only_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = stream_dataset(WATERS)
    monkeypatch.setattr(database, "record_from_row", lambda row: pytest.fail("a row was read"))
    summary(dataset)
    dataset.split("train").content_hash()
    assert all("hamiltonian" in record.matrices for record in dataset)


def test_changed_rows_are_refused(tmp_path: Path) -> None:
    matrix = np.eye(2)
    record = Record(numbers=[1, 1], positions=np.eye(3)[:2], energy=-1.0, matrices={"hamiltonian": matrix})
    path = tmp_path / "h2.db"
    write_database(path, Dataset((record,), "hf/sto-3g", "test"))
    dataset = stream_dataset(path)
    file = DatasetFile(path)
    with file._db as db:
        db.delete([1])
    file.add([replace(record, matrices={"hamiltonian": 2 * matrix})])
    with pytest.raises((ValueError, KeyError)):
        dataset[0].matrices["hamiltonian"]


def test_other_files_are_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "x.xyz"
    path.write_text("1\nenergy=-1.0\nH 0 0 0\n", encoding="utf-8")
    assert stream_dataset(path, units="Hartree")[0].energy == -1.0
    with pytest.raises(FileNotFoundError, match="there is no data file"):
        stream_dataset(tmp_path / "none.db")
    (tmp_path / "no.db").write_text("text", encoding="utf-8")
    with pytest.raises(ValueError, match="no ASE database"):
        stream_dataset(tmp_path / "no.db")
    with pytest.raises(ValueError, match="says itself what it holds"):
        stream_dataset(WATERS, units="eV")
