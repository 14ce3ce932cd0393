"""One door to every kind of data file that we read."""

from __future__ import annotations

from pathlib import Path

from ase_mlwave.data.npz import read_npz
from ase_mlwave.data.record import Dataset


def read_dataset(path: str | Path) -> Dataset:
    """Read molecules and their labels from a file, into atomic units.

    Parameters
    ----------
    path : str or Path
        ``.npz``: a NumPy archive in one of the layouts of ``ase_mlwave.data.npz``.

    Returns
    -------
    Dataset
        Records in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the kind of file is unknown or its content does not fit.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no data file {file}; give an .npz file.")
    readers = {".npz": read_npz}
    if file.suffix not in readers:
        raise ValueError(f"cannot read {file}: known kinds of data file are {', '.join(readers)}.")
    return readers[file.suffix](file)
