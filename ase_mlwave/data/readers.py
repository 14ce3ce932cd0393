"""One door to every kind of data file that we read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
from ase import Atoms

from ase_mlwave.data.database import read_database
from ase_mlwave.data.frames import dataset_of
from ase_mlwave.data.labels import ReadingOptions
from ase_mlwave.data.npz import read_npz
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.stores import is_server
from ase_mlwave.errors import reading_fault

__all__ = ["read_dataset"]


def read_dataset(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    units: str | None = None,
    level: str | None = None,
) -> Dataset:
    """Read molecules and their labels from a file, into atomic units.

    Parameters
    ----------
    path : str or Path
        ``.db`` or ``postgresql://...``: a dataset of ours or another ASE database; ``.extxyz`` or ``.xyz``: energies
        (eV), forces (eV/Angstrom) and dipoles (e*Angstrom) where there are any, the level of theory from an entry
        ``level`` of the comment lines, charge and spin as in `ase_mlwave.systems.charge_spin`; ``.npz``: a NumPy
        archive in one of the layouts of `ase_mlwave.data.npz`.
    energy_key, forces_key : str, optional
        Names of the energies (entries) and forces (arrays; with a minus sign before it a gradient's) in an extxyz file
        or another program's ASE database. By default those that `ase_mlwave.data.labels` knows.
    units : str, optional
        Of the energies and forces in such a file, or in an archive that does not say: eV, kcal/mol, kJ/mol, Hartree
        (see ``LabelUnits.parse``).
    level : str, optional
        Level of theory of a file that does not name it.

    Returns
    -------
    Dataset
        Records in the order of the file; `ase_mlwave.data.summary.summary` says in one line what was read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the kind of file is unknown, its content does not fit or contradicts itself, or an option is not for it.
    """
    options = ReadingOptions(energy_key, forces_key, units, level)
    if is_server(path):
        return read_database(path, options)
    file = Path(path)
    if file.suffix not in _READERS:
        raise ValueError(f"cannot read {file}: known kinds of data file are {', '.join(_READERS)}.")
    if not file.is_file():
        raise FileNotFoundError(f"there is no data file {file}.")
    return _READERS[file.suffix](file, options)


def _read_xyz(path: Path, options: ReadingOptions) -> Dataset:
    """Read an (extended) XYZ file of molecules.

    Parameters
    ----------
    path : Path
        With energies in eV and forces in eV/Angstrom where there are any and the options do not say otherwise.
    options : ReadingOptions
        See ``read_dataset``.

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
        raise ValueError(f"{path} is no well-formed XYZ file: {reading_fault(error)}.") from error
    if not frames:
        raise ValueError(f"{path} holds no structure.")
    return dataset_of(frames, str(path), options.labels(), options.level)


_READERS: dict[str, Callable[[Path, ReadingOptions], Dataset]] = {
    ".db": read_database,
    ".npz": read_npz,
    ".extxyz": _read_xyz,
    ".xyz": _read_xyz,
}
