"""One door to every kind of data file that we read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
from ase import Atoms

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import read_database
from ase_mlwave.data.npz import read_npz
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.stores import is_server

__all__ = ["read_dataset"]


def read_dataset(path: str | Path) -> Dataset:
    """Read molecules and their labels from a file, into atomic units.

    Parameters
    ----------
    path : str or Path
        ``.db`` or ``postgresql://...``: a dataset of ours or another ASE database; ``.extxyz`` or ``.xyz``: energies
        and forces in eV and eV/Angstrom where there are any, the level of theory from an entry ``level`` of the comment
        lines, charge and spin from ``charge`` and ``spin``; ``.npz``: a NumPy archive in one of the layouts of
        ``ase_mlwave.data.npz``.

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
    if is_server(path):
        return read_database(path)
    file = Path(path)
    if file.suffix not in _READERS:
        raise ValueError(f"cannot read {file}: known kinds of data file are {', '.join(_READERS)}.")
    if not file.is_file():
        raise FileNotFoundError(f"there is no data file {file}.")
    return _READERS[file.suffix](file)


def read_xyz(path: Path) -> Dataset:
    """Read an (extended) XYZ file of molecules.

    Parameters
    ----------
    path : Path
        With energies in eV and forces in eV/Angstrom where there are any.

    Returns
    -------
    Dataset
        ``level`` is the entry ``level`` of the comment lines, empty where there is none.

    Raises
    ------
    ValueError
        If the file is malformed, a structure is periodic, or the levels of theory differ.
    """
    try:
        frames: list[Atoms] = list(ase.io.iread(path, index=":", format="extxyz"))
    except Exception as error:  # ASE's reader raises whatever its parser meets
        raise ValueError(f"{path} is no well-formed XYZ file: {error}") from error
    if not frames:
        raise ValueError(f"{path} holds no structure.")
    records = []
    for number, atoms in enumerate(frames):
        try:
            records.append(record_from_atoms(atoms))
        except ValueError as error:
            raise ValueError(f"structure {number} of {path}: {error}") from error
    levels = {str(record.info.get("level", "")) for record in records}
    if len(levels) > 1:
        raise ValueError(f"{path} mixes levels of theory ({', '.join(map(repr, sorted(levels)))}); split it by level.")
    return Dataset(records=tuple(records), level=levels.pop(), source=str(path))


_READERS: dict[str, Callable[[Path], Dataset]] = {
    ".db": read_database,
    ".npz": read_npz,
    ".extxyz": read_xyz,
    ".xyz": read_xyz,
}
