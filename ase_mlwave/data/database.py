"""Read and write ASE databases: datasets of ours (`ase_mlwave.data.dataset_file`), and those of others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.db.row import AtomsRow

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.dataset_file import DatasetFile, Failure
from ase_mlwave.data.duplicates import merge_copies
from ase_mlwave.data.frames import common_level, dataset_of
from ase_mlwave.data.labels import ReadingOptions
from ase_mlwave.data.metadata import FORMAT, FORMAT_VERSION, read_metadata
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.rows import RowState, record_from_row
from ase_mlwave.data.stores import store_at

__all__ = ["FORMAT_VERSION", "DatasetFile", "Failure", "RowState", "read_database", "structures_in", "write_database"]


def write_database(path: str | Path, dataset: Dataset, settings: Mapping[str, Any] | None = None) -> DatasetFile:
    """Write a dataset to a new file.

    Parameters
    ----------
    path : str or Path
        Must not exist.
    dataset : Dataset
        Its level of theory goes to the metadata. Copies of one geometry with the same labels become one row.
    settings : mapping, optional
        See ``DatasetFile.create``; by default those of the dataset.

    Returns
    -------
    DatasetFile

    Raises
    ------
    ValueError
        If records of one geometry have different labels or splits; nothing is written then.

    Warns
    -----
    UserWarning
        If copies are merged.

    Notes
    -----
    ``read_database`` gives the records back: matrices bit for bit, energies, forces, dipoles and positions to the
    rounding of the unit conversion (``test_database_returns_what_was_written``).
    """
    merged = merge_copies(dataset.records, dataset.source)
    file = DatasetFile.create(path, dataset.level, dataset.settings if settings is None else settings)
    file.add(merged.records)
    if merged.n_copies:
        warnings.warn(f"{file.path}: {merged.in_words()}", stacklevel=2)
    return file


def read_database(path: str | Path, options: ReadingOptions | None = None) -> Dataset:
    """Read a dataset, or any other ASE database of molecules.

    Parameters
    ----------
    path : str or Path
        SQLite file, or the address of a PostgreSQL database.
    options : ReadingOptions, optional
        For a database of others; see ``read_dataset``.

    Returns
    -------
    Dataset
        Labelled molecules. A foreign database gives all its molecules, with ``level`` from its metadata or from the
        key-value pairs ``level``; key-value pairs and ``data`` become entries.

    Raises
    ------
    ValueError
        If the file is no ASE database, or in other units or a newer format, or an option is not for it.
    """
    options = options or ReadingOptions()
    store = store_at(path)
    db = store.connect()
    metadata = read_metadata(db, store.name)
    if metadata.get("format") == FORMAT:
        options.refuse("energy_key", "forces_key", "units", source=store.name)
        dataset = DatasetFile(path).read()
        return replace(dataset, level=common_level([dataset.level], options.level, store.name))
    with db:
        rows = list(db.select(sort="id"))
    named = str(metadata.get("level", "")) or options.level
    return dataset_of(map(_foreign_atoms, rows), store.name, options.labels(), named)


def structures_in(path: str | Path) -> list[Atoms]:
    """Return all structures of a dataset or of another ASE database, labelled or not, as ``Atoms``.

    Parameters
    ----------
    path : str or Path
        See ``read_database``.

    Returns
    -------
    list of Atoms
        eV and Angstrom; charge, spin and entries in ``info``, where ``ase.io.read`` has none.

    Raises
    ------
    ValueError
        If the file is no ASE database.
    """
    store = store_at(path)
    db = store.connect()
    is_ours = read_metadata(db, store.name).get("format") == FORMAT
    with db:
        rows = list(db.select(sort="id", include_data=is_ours))
    return [atoms_from_record(record_from_row(row)) if is_ours else _foreign_atoms(row) for row in rows]


def _foreign_atoms(row: AtomsRow) -> Atoms:
    """Return the structure of somebody else's row with all that it says of it."""
    atoms: Atoms = row.toatoms()
    if atoms.calc is not None:
        atoms.calc.parameters = row.get("calculator_parameters", {})  # a charge there is at least warned about
    atoms.info.update(row.data)
    atoms.info.update(row.key_value_pairs)
    return atoms
