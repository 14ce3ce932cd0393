"""Write datasets to files: the counterpart of the readers."""

from __future__ import annotations

from pathlib import Path

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.database import write_database
from ase_mlwave.data.duplicates import merge_copies
from ase_mlwave.data.extxyz import write_extxyz
from ase_mlwave.data.record import Dataset

__all__ = ["check_output", "write_dataset"]

_SUFFIXES = (".db", ".extxyz", ".xyz")


def check_output(path: str | Path) -> None:
    """Refuse a file that cannot be written, before any work.

    Parameters
    ----------
    path : str or Path
        File to be written.

    Raises
    ------
    ValueError
        If its kind is unknown.
    FileExistsError
        If it exists.
    FileNotFoundError
        If its folder does not.
    """
    file = Path(path)
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"cannot write {file}: known kinds of data file are {', '.join(_SUFFIXES)}.")
    if file.exists():
        raise FileExistsError(f"{file} exists already; remove it or choose another name.")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {file.parent} to keep {file.name} in.")


def write_dataset(path: str | Path, dataset: Dataset) -> None:
    """Write a dataset to a new file.

    Parameters
    ----------
    path : str or Path
        ``.db``: everything, see ``write_database``; ``.extxyz`` or ``.xyz``: geometries (Angstrom, 8 decimals),
        energies (eV), forces (eV/Angstrom), dipoles (e*Angstrom) and ``info``, without matrices.
    dataset : Dataset
        The level of theory becomes the entry ``level`` of the comment lines.

    Raises
    ------
    ValueError, FileExistsError, FileNotFoundError
        See ``check_output``; also if records of one geometry have different labels or splits, or an entry cannot be
        written such that it is read back.

    Warns
    -----
    UserWarning
        If a ``.db`` file merges copies of one geometry.
    """
    check_output(path)
    if Path(path).suffix == ".db":
        write_database(path, dataset)
        return
    merge_copies(dataset.records, dataset.source)  # refuses what contradicts itself; an extxyz file may have copies
    frames = [atoms_from_record(record) for record in dataset]
    for atoms in frames:
        if dataset.level:
            atoms.info["level"] = dataset.level
    write_extxyz(Path(path), frames)
