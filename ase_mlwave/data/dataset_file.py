"""The dataset as an ASE database: one file that ``ase db`` and ``ase gui`` open, and that labelling fills row by row.

Every row is a molecule with an ``mlwave_status``: ``pending`` (no labels yet), ``labelled``, or ``failed`` (then
``mlwave_reason`` says why); key-value pairs that begin with ``mlwave_`` are ours, all others the user's. Geometry,
energy, forces and dipole are in ASE's own columns and units (Angstrom, eV, eV/Angstrom, e*Angstrom), matrices bit for
bit in ``data`` (Hartree, PySCF AO order), entries of ``Record.info`` in the key-value pairs where ASE accepts them and
in ``data["info"]`` where not. The metadata hold the format version, the units and the level of theory.
Many processes may use one dataset at a time: see `ase_mlwave.data.claims` for how they share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ase_mlwave.data.claims import Claims
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.duplicates import combine
from ase_mlwave.data.failures import kind_of_reason
from ase_mlwave.data.lookups import create_indices, find_rows, stored_metadata
from ase_mlwave.data.metadata import FORMAT_VERSION, check_metadata, new_metadata, read_metadata, upgraded_metadata
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.rows import (
    FAILED,
    LABELLED,
    PENDING,
    RowState,
    columns,
    labelled_with,
    numbers_with,
    record_from_row,
    row_key,
    row_numbers,
    row_states,
    split_pairs,
    status_counts,
    upgrade,
    write_new,
)
from ase_mlwave.data.stores import store_at

__all__ = ["DatasetFile", "Failure", "RowState"]


@dataclass(frozen=True)
class Failure:
    """Say which molecule could not be labelled, and why."""

    record: Record
    reason: str
    """Begins with the kind, see `ase_mlwave.data.failures`."""

    @property
    def kind(self) -> str:
        """``"input"``, ``"convergence"`` or ``"environment"``."""
        return kind_of_reason(self.reason)


class DatasetFile:
    """Read and fill a dataset that is kept in an ASE database.

    Parameters
    ----------
    path : str or Path
        An SQLite file (``.db``), or the address of a PostgreSQL database (``postgresql://user@host/database``).
        ``create`` makes a new one.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is no dataset of ours, of a newer format, or in other units.
    InputError, ConnectionError
        If the library for PostgreSQL is not installed, or the server does not answer.

    Notes
    -----
    Each method is one transaction, so a process may be killed at any moment.
    """

    def __init__(self, path: str | Path) -> None:
        self._store = store_at(path)
        self.path = self._store.name
        self._db = self._store.connect()
        metadata = read_metadata(self._db, self.path)
        check_metadata(metadata, self.path)
        self.metadata: dict[str, Any] = upgraded_metadata(metadata)

    @classmethod
    def create(cls, path: str | Path, level: str, settings: Mapping[str, Any] | None = None) -> DatasetFile:
        """Make an empty dataset.

        Parameters
        ----------
        path : str or Path
            Must not exist; the database of a server must be empty.
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
            If there is something already.
        """

        def fill(db: Any) -> None:
            db.metadata = new_metadata(level, settings or {})
            create_indices(db)

        store_at(path).create(fill)
        return cls(path)

    @classmethod
    def open_or_create(cls, path: str | Path, level: str, settings: Mapping[str, Any] | None = None) -> DatasetFile:
        """Open a dataset, or make it if there is none; two processes may do so at once.

        Parameters
        ----------
        path, level, settings
            See ``create``. Those of a dataset that exists may be others.

        Returns
        -------
        DatasetFile
        """
        if not store_at(path).exists():
            try:
                return cls.create(path, level, settings)
            except FileExistsError:  # another process was faster
                pass
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
            Of a geometry (elements, positions, charge, spin) that the file has already, labels that its row lacks are
            added to it; where there are none it is skipped.

        Returns
        -------
        int
            Number of new rows.

        Raises
        ------
        ValueError
            If a row has other labels for the geometry; then nothing is added.
        """
        molecules = list(records)
        with self._writing() as db:
            row_of = row_numbers(db, molecules)
            n_before = len(row_of)
            for record in molecules:
                is_new = row_key(record) not in row_of
                row = write_new(db, record, row_of)
                if record.energy is not None and not is_new:
                    self._add_labels(db, row, record)
            return len(row_of) - n_before

    def _add_labels(self, db: Any, row: int, record: Record) -> None:
        """Give a row the labels of a record of its geometry that it lacks."""
        before = record_from_row(db.get(id=row))
        try:
            after = combine(before, record)
        except ValueError as error:
            raise ValueError(
                f"row {row} of {self.path} ({record.formula}) has the geometry of a record, but {error}"
            ) from error
        if after.content_hash() != before.content_hash():
            db.write(atoms_from_record(replace(after, info={})), *columns(after, row_key(record), LABELLED), id=row)

    def add_unless(
        self, records: Sequence[Record], same: Callable[[Record, Record], bool], key: str = "smiles"
    ) -> list[int]:
        """Find the row that stands for each molecule, and add those that none stands for.

        Parameters
        ----------
        records : sequence of Record
            With an entry ``key`` in ``info``.
        same : callable
            Tells whether a row of the file, given first, stands for a molecule.
        key : str
            Only rows with the molecule's value of this entry are asked.

        Returns
        -------
        list of int
            Numbers of the rows. Rows that have failed stand for nothing but their own geometry.

        Notes
        -----
        Searching and adding is one step: of two processes that want the same molecule at once, one adds it.
        """
        with self._writing() as db:
            row_of = row_numbers(db, records)
            candidates: dict[Any, list[tuple[int, Record]]] = {record.info[key]: [] for record in records}
            rows = find_rows(db, key, candidates.keys())
            states = row_states(db, [number for _, number in rows])
            for value, number in rows:
                if states[number].status != FAILED:
                    candidates[value].append((number, record_from_row(db.get(id=number))))
            numbers = []
            for record in records:
                alike = candidates[record.info[key]]
                row = next((number for number, other in alike if same(other, record)), None)
                if row is None:
                    row = write_new(db, record, row_of)
                    alike.append((row, record))
                numbers.append(row)
            return numbers

    def numbers(self, records: Iterable[Record]) -> list[int]:
        """Return the numbers of the rows that hold these geometries; those that the file lacks are left out."""
        molecules = list(records)
        with self._db as db:
            row_of = row_numbers(db, molecules)
        return [row_of[key] for key in map(row_key, molecules) if key in row_of]

    def records(self, rows: Iterable[int]) -> list[Record]:
        """Return the molecules of rows, with their labels if they have any."""
        with self._db as db:
            return [record_from_row(db.get(id=row)) for row in rows]

    def states(self, rows: Iterable[int] | None = None) -> dict[int, RowState]:
        """Return how far rows, by default all, have come."""
        with self._db as db:
            return row_states(db, rows)

    def pending(
        self, retry_failed: bool | Callable[[str], bool] = False, rows: Iterable[int] | None = None
    ) -> dict[int, Record]:
        """Return the molecules without labels by row number, in order.

        Parameters
        ----------
        retry_failed : bool or callable
            Whether those that have failed count too; a callable tells it by the reason of a failure.
        rows : iterable of int, optional
            Where to look; by default everywhere.
        """
        counts_too = retry_failed if callable(retry_failed) else lambda reason: bool(retry_failed)
        with self._db as db:
            states = row_states(db, numbers_with(db, PENDING, FAILED) if rows is None else rows)
            return {
                number: record_from_row(db.get(id=number))
                for number, state in states.items()
                if state.status == PENDING or (state.status == FAILED and counts_too(state.reason))
            }

    def store(self, row: int, record: Record) -> None:
        """Give a row its labels; a row that has labels keeps them.

        Parameters
        ----------
        row : int
            Number of the row, from ``pending``.
        record : Record
            The same molecule with an energy.
        """
        self._rewrite(row, record, LABELLED)

    def fail(self, row: int, record: Record, reason: str, *, final: bool = True) -> None:
        """Mark a row as failed, unless it has labels.

        Parameters
        ----------
        row : int
            Number of the row, from ``pending``.
        record : Record
            The molecule.
        reason : str
            What went wrong, for a person to read.
        final : bool
            False leaves the row pending, with the reason: whoever comes next tries again.
        """
        self._rewrite(row, record, FAILED if final else PENDING, reason)

    def claims(self) -> Claims:
        """Return new claims to rows: what this process has in work."""
        return self._store.claims()

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each status."""
        with self._db as db:
            counts = status_counts(db)
        return {status: counts.get(status, 0) for status in (LABELLED, FAILED, PENDING)}

    def failures(self, rows: Iterable[int] | None = None) -> list[Failure]:
        """Return what has failed, for good or for now, in the order of the rows; of all rows by default."""
        with self._db as db:
            states = row_states(db, numbers_with(db, PENDING, FAILED) if rows is None else rows)
            failed = {number: state.reason for number, state in states.items() if state.reason}
            return [Failure(record_from_row(db.get(id=number)), reason) for number, reason in failed.items()]

    def read(self, keep: Callable[[int, Record], Record] = lambda row, record: record) -> Dataset:
        """Return the labelled molecules in the order of the rows; all molecules of a file without a level of theory.

        Parameters
        ----------
        keep : callable
            Gets the number and the molecule of each row, and returns what is kept of it.
        """
        with self._db as db:
            rows = numbers_with(db, LABELLED) if self.level else list(row_states(db))
            records = tuple(keep(row, record_from_row(db.get(id=row))) for row in rows)
        counts = self.counts() if self.level else {}
        omitted = [f"{counts[status]} {status}" for status in (PENDING, FAILED) if counts.get(status)]
        notes = (f"left out: {', '.join(omitted)}",) if omitted else ()
        return Dataset(records, self.level, self.path, self.metadata.get("level_settings") or {}, notes)

    def read_some(self, key: str, values: Collection[Any]) -> list[Record]:
        """Return the labelled molecules that have one of these values as an entry ``key`` of ``info``, in order.

        Parameters
        ----------
        key : str
            Name of the entry, one that ASE can select by (text or a number).
        values : collection
            Which values.
        """
        with self._db as db:
            return [record_from_row(db.get(id=row)) for row in labelled_with(db, key, values)]

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
        with self._writing() as db:
            rows = numbers_with(db, LABELLED)
            if len(rows) != len(values):
                raise ValueError(
                    f"{self.path} has {len(rows)} labelled molecules, but {len(values)} values were given."
                )
            for row, value in zip(rows, values, strict=True):
                db.update(row, **{key: value})

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """Open a transaction that reads what is, and lets nobody else write."""
        with self._db as db:
            self._store.begin(db)
            if self.metadata["format_version"] < FORMAT_VERSION:
                if stored_metadata(db)["format_version"] < FORMAT_VERSION:  # else another process was faster
                    upgrade(db)
                self.metadata["format_version"] = FORMAT_VERSION
            if db.type == "db":  # files from before there were indices; on a server only the owner may make them
                create_indices(db)
            yield db

    def _rewrite(self, row: int, record: Record, status: str, reason: str = "") -> None:
        with self._writing() as db:
            before, _ = split_pairs(db.get(id=row).key_value_pairs)
            if before.status != LABELLED:
                atoms = atoms_from_record(replace(record, info={}))
                db.write(atoms, *columns(record, before.key, status, reason), id=row)
