"""The dataset as an ASE database: one file that ``ase db`` and ``ase gui`` open, and that labelling fills row by row.

Every row is a molecule with a ``status``: ``pending`` (no labels yet), ``labelled``, or ``failed`` (then ``reason``
says why). Geometry, energy and forces are in ASE's own columns and units (Angstrom, eV, eV/Angstrom), matrices bit for
bit in ``data`` (Hartree, PySCF AO order), entries of ``Record.info`` in the key-value pairs where ASE accepts them and
in ``data["info"]`` where not. The metadata hold the format version, the units and the level of theory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase.db import connect
from ase.db.row import AtomsRow

from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.rows import FAILED, LABELLED, PENDING, columns, record_from_row, row_key
from ase_mlwave.units import BOHR, HARTREE

__all__ = ["FORMAT_VERSION", "DatasetFile", "Failure", "read_database", "write_database"]

#: Increased when the layout changes; older versions are upgraded on reading, newer ones refused.
FORMAT_VERSION = 1

_FORMAT = "ase-mlwave dataset"
_CONVENTIONS = {
    "units": {"positions": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "matrices": "Hartree"},
    "ao_convention": "pyscf spherical",
}
#: Relative deviation of the stored unit constants beyond which a file is refused.
_UNIT_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Failure:
    """Say which molecule could not be labelled, and why."""

    record: Record
    reason: str


class DatasetFile:
    """Read and fill a dataset that is kept in an ASE database.

    Parameters
    ----------
    path : str or Path
        An SQLite file (``.db``). ``create`` makes a new one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no dataset of ours, of a newer format, or in other units.

    Notes
    -----
    Each method is one transaction, so a process may be killed at any moment. ASE's lock file is not used, because it
    outlives a killed process; SQLite locks on its own.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._db = _connect(path)
        self.metadata: dict[str, Any] = _read_metadata(self._db, self.path)
        if self.metadata.get("format") != _FORMAT:
            raise ValueError(
                f"{self.path} is an ASE database but no {_FORMAT} (its metadata do not say so). "
                "Read it with read_dataset, and write a new file with write_database."
            )
        _check_conventions(self.metadata, self.path)

    @classmethod
    def create(cls, path: str | Path, level: str, settings: Mapping[str, Any] | None = None) -> DatasetFile:
        """Make an empty dataset.

        Parameters
        ----------
        path : str or Path
            Must not exist.
        level : str
            Level of theory, such as ``"pbe/def2-svp"``.
        settings : mapping, optional
            Everything that decides the numbers (``LevelOfTheory.settings()``), JSON types.

        Returns
        -------
        DatasetFile

        Raises
        ------
        FileExistsError
            If the file exists.
        """
        if Path(path).exists():
            raise FileExistsError(f"{path} exists already; open it with DatasetFile, or choose another name.")
        db = _connect(path, must_exist=False)
        with db:
            db.metadata = {
                "format": _FORMAT,
                "format_version": FORMAT_VERSION,
                "title": f"{_FORMAT}: {level}" if level else _FORMAT,
                "level": level,
                "level_settings": dict(settings or {}),
                **_CONVENTIONS,
                "constants": {"hartree_in_ev": HARTREE, "bohr_in_angstrom": BOHR},
                "versions": {name: version(name) for name in ("ase", "pyscf", "numpy")},
            }
        return cls(path)

    @property
    def level(self) -> str:
        """The level of theory."""
        return str(self.metadata["level"])

    def add(self, records: Iterable[Record]) -> int:
        """Add molecules, labelled where they have an energy and pending where not.

        Parameters
        ----------
        records : iterable of Record
            A geometry (elements, positions, charge, spin) that the file has already is skipped.

        Returns
        -------
        int
            Number of new rows.
        """
        known = self._hashes()
        n_new = 0
        with self._db as db:
            for record in records:
                key = row_key(record)
                if key not in known:
                    known.add(key)
                    n_new += 1
                    status = PENDING if record.energy is None else LABELLED
                    db.write(atoms_from_record(replace(record, info={})), *columns(record, key, status))
        return n_new

    def pending(self, retry_failed: bool = False) -> dict[int, Record]:
        """Return the molecules without labels by row number, in order.

        Parameters
        ----------
        retry_failed : bool
            Whether those that have failed count too.
        """
        statuses = (PENDING, FAILED) if retry_failed else (PENDING,)
        rows = {row.id: record_from_row(row) for status in statuses for row in self._rows(status)}
        return dict(sorted(rows.items()))

    def store(self, row: int, record: Record) -> None:
        """Give a row its labels.

        Parameters
        ----------
        row : int
            Number of the row, from ``pending``.
        record : Record
            The same molecule with an energy.
        """
        self._rewrite(row, record, LABELLED)

    def fail(self, row: int, record: Record, reason: str) -> None:
        """Mark a row as failed.

        Parameters
        ----------
        row : int
            Number of the row, from ``pending``.
        record : Record
            The molecule.
        reason : str
            What went wrong, for a person to read.
        """
        self._rewrite(row, record, FAILED, reason)

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each status."""
        with self._db as db:
            return {status: db.count(status=status) for status in (LABELLED, FAILED, PENDING)}

    def failures(self) -> list[Failure]:
        """Return what has failed, in the order of the rows."""
        return [Failure(record_from_row(row), row["reason"]) for row in self._rows(FAILED)]

    def read(self) -> Dataset:
        """Return the labelled molecules in the order of the rows; all molecules of a file without a level of theory."""
        records = tuple(map(record_from_row, self._rows(LABELLED if self.level else None)))
        return Dataset(records=records, level=self.level, source=self.path)

    def assign(self, key: str, values: Sequence[str]) -> None:
        """Set an entry of ``Record.info`` for the molecules that ``read`` returns.

        Parameters
        ----------
        key : str
            Name of the entry, such as ``"split"``.
        values : sequence of str
            One for each labelled molecule, in the order of ``read``.

        Raises
        ------
        ValueError
            If the number of values is another.
        """
        with self._db as db:
            rows = [row.id for row in db.select(status=LABELLED, sort="id", include_data=False)]
            if len(rows) != len(values):
                raise ValueError(
                    f"{self.path} has {len(rows)} labelled molecules, but {len(values)} values were given."
                )
            for row, value in zip(rows, values, strict=True):
                db.update(row, **{key: value})

    def _rewrite(self, row: int, record: Record, status: str, reason: str = "") -> None:
        with self._db as db:
            key = db.get(id=row).geometry_hash
            atoms = atoms_from_record(replace(record, info={}))
            db.write(atoms, *columns(record, key, status, reason), id=row)

    def _hashes(self) -> set[str]:
        with self._db as db:
            return {row.geometry_hash for row in db.select(include_data=False)}

    def _rows(self, status: str | None = None) -> list[AtomsRow]:
        with self._db as db:
            return list(db.select(sort="id") if status is None else db.select(status=status, sort="id"))


def write_database(path: str | Path, dataset: Dataset, settings: Mapping[str, Any] | None = None) -> DatasetFile:
    """Write a dataset to a new file.

    Parameters
    ----------
    path : str or Path
        Must not exist.
    dataset : Dataset
        Its level of theory goes to the metadata. Of equal geometries the first is kept.
    settings : mapping, optional
        See ``DatasetFile.create``.

    Returns
    -------
    DatasetFile

    Notes
    -----
    ``read_database`` gives the records back: matrices bit for bit, energies, forces and positions to the rounding of
    the unit conversion (``test_database_returns_what_was_written``).
    """
    file = DatasetFile.create(path, dataset.level, settings)
    file.add(dataset.records)
    return file


def read_database(path: str | Path) -> Dataset:
    """Read a dataset file, or any other ASE database of molecules.

    Parameters
    ----------
    path : str or Path
        SQLite file.

    Returns
    -------
    Dataset
        Labelled molecules. A foreign database gives all its molecules, with ``level`` from its metadata or empty.

    Raises
    ------
    ValueError
        If the file is no ASE database, or in other units or a newer format.
    """
    db = _connect(path)
    metadata = _read_metadata(db, str(path))
    if metadata.get("format") == _FORMAT:
        return DatasetFile(path).read()
    with db:
        rows = list(db.select(sort="id"))
    records = tuple(record_from_atoms(row.toatoms(), **row.key_value_pairs) for row in rows)
    return Dataset(records=records, level=str(metadata.get("level", "")), source=str(path))


def _connect(path: str | Path, must_exist: bool = True) -> Any:
    """Return ASE's database object."""
    file = Path(path)
    if file.suffix != ".db":
        raise ValueError(f"a dataset file is an SQLite database whose name ends in .db (got {file.name!r}).")
    if must_exist and not file.is_file():
        raise FileNotFoundError(f"no dataset file {file}.")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"no folder {file.parent} to keep {file.name} in.")
    return connect(str(file), type="db", use_lock_file=False)


def _read_metadata(db: Any, path: str) -> dict[str, Any]:
    try:
        with db:
            return dict(db.metadata)
    except Exception as error:  # SQLite and ASE raise many kinds for a file that is something else
        raise ValueError(f"{path} is no ASE database: {error}") from error


def _check_conventions(metadata: Mapping[str, Any], path: str) -> None:
    """Refuse a newer format, other units or another AO order."""
    found = metadata.get("format_version")
    if not isinstance(found, int) or found > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {found}; this program reads versions up to {FORMAT_VERSION}. Update it."
        )
    for key, expected in _CONVENTIONS.items():
        if metadata.get(key) != expected:
            raise ValueError(f"{path} has {key} {metadata.get(key)!r}; allowed is {expected!r}.")
    constants = metadata.get("constants", {})
    for key, value in (("hartree_in_ev", HARTREE), ("bohr_in_angstrom", BOHR)):
        if not np.isclose(constants.get(key, np.nan), value, rtol=_UNIT_TOLERANCE, atol=0):
            raise ValueError(f"{path} was written with {key} = {constants.get(key)}; here it is {value}.")
