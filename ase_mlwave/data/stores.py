"""Where a dataset is kept: in an SQLite file, or on a PostgreSQL server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from ase.db.sqlite import SQLite3Database

from ase_mlwave.data.claims import Claims, FileClaims
from ase_mlwave.data.store import Store, disconnect

__all__ = ["SqliteStore", "as_address", "dataset_exists", "is_server", "store_at"]

#: Seconds to wait for others that write.
_PATIENCE = 120.0

#: SQLite's codes where a place is at fault, not what is in it: PERM, BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
_OF_THE_PLACE = frozenset({3, 5, 6, 8, 10, 13, 14})


def store_at(address: str | Path) -> Store:
    """Find the kind of a store by its address.

    Parameters
    ----------
    address : str or Path
        The path of an SQLite file, ``.db``, or ``postgresql://user@host/database``.

    Returns
    -------
    Store

    Raises
    ------
    ValueError
        If it is neither.
    InputError
        If the library for PostgreSQL is not installed.
    """
    if is_server(address):
        from ase_mlwave.data.postgresql import PostgresStore  # its library is an optional extra

        return PostgresStore(str(address))
    return SqliteStore(Path(address))


def as_address(address: str | os.PathLike[str]) -> str | Path:
    """Return the address of a server as it is, and anything else as a path."""
    text = os.fspath(address)
    return text if is_server(text) else Path(text)


def dataset_exists(address: str | Path) -> bool:
    """Tell whether there is a dataset, or something else, at an address."""
    return store_at(address).exists()


def is_server(address: str | Path) -> bool:
    """Tell the address of a server from the path of a file."""
    return str(address).startswith(("postgresql:", "postgres:"))


class SqliteStore(Store):
    """An SQLite file.

    Parameters
    ----------
    path : Path
        Its name ends in ``.db``, and its folder exists.

    Raises
    ------
    ValueError
        If the name ends otherwise.
    FileNotFoundError
        If there is no such folder.

    Notes
    -----
    ASE's lock file is not used, because it outlives a killed process; SQLite locks on its own.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        if path.suffix != ".db":
            raise ValueError(f"a dataset file is an SQLite database whose name ends in .db (got {path.name!r}).")

    def exists(self) -> bool:
        """Tell whether there is a file."""
        return self._path.is_file()

    def connect(self) -> Any:
        """Return ASE's database object."""
        if not self.exists():
            raise FileNotFoundError(f"no dataset file {self.name}.")
        return _Database(self._path, self.name)

    def create(self, fill: Callable[[Any], None]) -> None:
        """Make the file under another name, and give it its own when it is complete."""
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"no folder {self._path.parent} to keep {self._path.name} in.")
        refusal = f"{self.name} exists already; open it with DatasetFile, or choose another name."
        if self.exists():
            raise FileExistsError(refusal)
        draft = self._path.with_name(f".{self._path.name}.{uuid4().hex}")
        try:
            with _Database(draft, self.name) as db:
                fill(db)
            _publish(draft, self._path)
        except FileExistsError:
            raise FileExistsError(refusal) from None
        finally:
            draft.unlink(missing_ok=True)

    def begin(self, db: Any) -> None:
        """Start a transaction that holds SQLite's lock for writing."""
        db.connection.execute("BEGIN IMMEDIATE")

    def claims(self) -> Claims:
        """Return claims by file locks."""
        return FileClaims(self._path)


class _Database(SQLite3Database):
    """ASE's database, with patience: many processes may want to write at once; ``name`` is for messages."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path.absolute()
        self._name = name
        super().__init__(str(self._path))

    def _connect(self) -> sqlite3.Connection:
        with self._naming_the_file():
            return sqlite3.connect(self._path, timeout=_PATIENCE)

    def __exit__(self, *exception: Any) -> None:
        with self._naming_the_file():
            try:
                super().__exit__(*exception)  # type: ignore[no-untyped-call]
            finally:
                disconnect(self)
            if isinstance(exception[1], sqlite3.OperationalError):
                raise exception[1]

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """Turn what SQLite says of a place, in words without a path, into an ``OSError`` that has it."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _OF_THE_PLACE:
                raise
            raise OSError(
                f"{self._name} cannot be used: {error}. Look at its permissions, those of its folder, the space on the "
                "disk, and whether another program holds it."
            ) from error


def _publish(draft: Path, path: Path) -> None:
    """Give a file its name unless that is taken."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError from None
        draft.rename(path)
