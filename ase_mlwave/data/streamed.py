"""A data set whose matrices stay in its file: they are read, one at a time, when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.stores import is_server

__all__ = ["StoredMatrices", "StoredRecord", "stream_dataset"]


class StoredMatrices(Mapping[str, NDArray[np.float64]]):
    """The matrices of a row of a dataset, which are not held in memory.

    Parameters
    ----------
    address : str or Path
        Of the dataset.
    row : int
        Number of the row.
    record : Record
        What the row holds; not kept.

    Raises
    ------
    ValueError
        Where a matrix is asked for and the row holds another molecule or other labels by then.
    """

    def __init__(self, address: str | Path, row: int, record: Record) -> None:
        self._address, self._row = address, row
        self._names, self.content_hash = tuple(record.matrices), record.content_hash()

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._names:
            raise KeyError(name)
        file = DatasetFile(self._address)
        (record,) = file.records([self._row])
        if record.content_hash() != self.content_hash:
            raise ValueError(f"row {self._row} of {file.path} was changed after it was read; start again")
        return record.matrices[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class StoredRecord(Record):
    """A record that has all but its matrices in memory."""

    def __post_init__(self) -> None:
        """Check everything but stored matrices, which are checked when their row is read."""
        matrices = self.matrices
        if isinstance(matrices, StoredMatrices):
            object.__setattr__(self, "matrices", {})
        super().__post_init__()
        if isinstance(matrices, StoredMatrices):
            object.__setattr__(self, "matrices", matrices)

    @classmethod
    def of(cls, record: Record, matrices: StoredMatrices) -> StoredRecord:
        """Take the matrices of a record out of memory."""
        fields = {name: value for name, value in vars(record).items() if name != "matrices"}
        stored = cls(**fields, matrices=matrices)
        object.__setattr__(stored, "_content_hash", matrices.content_hash)  # a changed copy has none
        return stored

    def content_hash(self) -> str:
        """Return the SHA-256 (hex) of geometry and labels."""
        known: str | None = getattr(self, "_content_hash", None)
        return super().content_hash() if known is None else known


def stream_dataset(
    path: str | Path, *, energy_key: str | None = None, forces_key: str | None = None, units: str | None = None
) -> Dataset:
    """Read molecules and their labels as ``read_dataset`` does, but leave matrices in the file.

    Parameters
    ----------
    path, energy_key, forces_key, units
        As of ``read_dataset``.

    Returns
    -------
    Dataset
        Of a dataset of ours, records whose matrices are read when they are asked for; all of it is read once now,
        and checked. Other files are held in memory whole.

    Raises
    ------
    FileNotFoundError, ValueError
        As ``read_dataset``.

    Notes
    -----
    Law: ``test_streamed_data_are_those_in_memory``.
    """
    options = {"energy_key": energy_key, "forces_key": forces_key, "units": units}
    if (is_server(path) or Path(path).suffix == ".db") and not any(options.values()):  # which are for other databases
        try:
            file = DatasetFile(path)
        except (ValueError, FileNotFoundError):  # another database, or none at all: the reader of these knows
            pass
        else:
            return file.read(lambda row, record: StoredRecord.of(record, StoredMatrices(path, row, record)))
    return read_dataset(path, **options)
