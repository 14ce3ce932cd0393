"""A dataset on a PostgreSQL server, through ASE's back end: for where many machines write."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from ase.calculators.calculator import InputError

from ase_mlwave.data.claims import Claims
from ase_mlwave.data.store import Store, disconnect

__all__ = ["Address", "PostgresStore"]

_ADDRESS = re.compile(
    r"(?P<scheme>postgres(?:ql)?)://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^@/?#\s]*))?@)?"
    r"(?P<place>[^@/?#\s]*(?:/[^@/?#\s]*)?)(?:\?(?P<query>[^@#\s]*))?"
)
#: Parameters of an address that may be shown.
_SHOWN = frozenset({"dbname", "host", "options", "port", "service", "user"})

#: Numbers of locks that the server keeps for applications: our own within the schema that has the tables.
_CLAIM = "hashtext('ase-mlwave claims ' || current_schema()), %s"
_WRITING = "hashtextextended('ase-mlwave writing ' || current_schema(), 0)"
#: Let the server take a machine that went silent for dead after two minutes, so that its claims end.
_SILENCE = "SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 6"


class Address:
    """Address of a database on a server, whose text never shows the password.

    Parameters
    ----------
    text : str
        ``postgresql://user:password@host:port/database?parameters``, as PostgreSQL's own programs take it.

    Raises
    ------
    ValueError
        If it has another form; the message does not repeat it, because a password may be the reason.
    """

    def __init__(self, text: str) -> None:
        parts = _ADDRESS.fullmatch(text)
        if parts is None:
            raise ValueError(
                "this is no address of a PostgreSQL database. Write it as text, postgresql://user@host:port/database; "
                "in names and passwords write %40 for @, %2F for /, %3A for :, %3F for ? and %23 for #."
            )
        self.full = text
        parameters = parse_qsl(parts["query"] or "")
        hidden = {parts["password"] or "", *(value for key, value in parameters if key not in _SHOWN)}
        self._secrets = {secret for text in hidden for secret in (text, unquote(text)) if secret}
        shown = urlencode([(key, value) for key, value in parameters if key in _SHOWN], safe="/")
        user = f"{parts['user']}@" if parts["user"] else ""
        self._public = f"{parts['scheme']}://{user}{parts['place']}" + (f"?{shown}" if shown else "")

    def __str__(self) -> str:
        return self._public

    __repr__ = __str__

    def scrub(self, message: str) -> str:
        """Remove passwords from a message.

        Parameters
        ----------
        message : str
            Of the driver or the server.

        Returns
        -------
        str
        """
        for secret in sorted(self._secrets, key=len, reverse=True):
            message = message.replace(secret, "***")
        return message


class PostgresStore(Store):
    """A database of a PostgreSQL server; ASE's tables are in its first schema.

    Parameters
    ----------
    address : str
        See `Address`. What it lacks comes from PostgreSQL's own sources: ``PGPASSWORD``, ``~/.pgpass``, ...

    Raises
    ------
    ValueError
        If it is no address.
    InputError
        If ASE's back end is not installed.

    Notes
    -----
    Claims are advisory locks of the server: they end with the connection that took them, and so with the process.
    All that writes waits for one more such lock, because ASE's back end takes the number of the last row of anybody
    for that of its own (``test_many_processes_write_to_one_server``).
    """

    def __init__(self, address: str) -> None:
        self._address = Address(address)
        super().__init__(str(self._address))
        _backend()

    def exists(self) -> bool:
        """Tell whether the database has structures, or the metadata of a dataset."""
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            return _has_content(cursor)

    def connect(self) -> Any:
        """Return ASE's database object."""
        if not self.exists():
            raise FileNotFoundError(f"no dataset in {self.name}.")
        return self._database()

    def create(self, fill: Callable[[Any], None]) -> None:
        """Make ASE's tables and fill them; while that lasts, others wait."""
        with closing(self._connection()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({_WRITING})")
            if _has_content(cursor):
                raise FileExistsError(f"{self.name} has a dataset already; open it with DatasetFile.")
            with self._database() as db:
                fill(db)

    def begin(self, db: Any) -> None:
        """Wait for the lock of those who write; it ends with the transaction."""
        db.connection.cursor().execute(f"SELECT pg_advisory_xact_lock({_WRITING})")

    def claims(self) -> Claims:
        """Return claims that a connection of their own holds."""
        return _ServerClaims(self._connection())

    def _connection(self) -> Any:
        """Connect without ASE; every statement is a transaction."""
        connection = _connect(self._address)
        connection.autocommit = True
        return connection

    def _database(self) -> Any:
        return _backend()(self._address)


class _ServerClaims(Claims):
    """Claim rows by advisory locks of a server."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._own: set[int] = set()
        self._ask(_SILENCE)

    def take(self, row: int) -> bool:
        """Claim a row; False if somebody has it."""
        if row in self._own or not self._ask(f"SELECT pg_try_advisory_lock({_CLAIM})", row):
            return False
        self._own.add(row)
        return True

    def release(self, row: int) -> None:
        """Give up a row that was taken."""
        if row in self._own:
            self._ask(f"SELECT pg_advisory_unlock({_CLAIM})", row)
            self._own.discard(row)

    def close(self) -> None:
        """Give up all rows at once, and close the connection."""
        if not self._connection.closed:
            self._ask("SELECT pg_advisory_unlock_all()")  # a server frees the locks of a closed connection only soon
            self._connection.close()
        self._own.clear()

    def _ask(self, statement: str, *arguments: int) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return cursor.description is not None and bool(cursor.fetchone()[0])


def _has_content(cursor: Any) -> bool:
    """Tell whether there are structures or metadata in ASE's tables (a process may have been killed in between)."""
    cursor.execute("SELECT to_regclass('systems') IS NOT NULL AND to_regclass('information') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return False
    cursor.execute("SELECT EXISTS (SELECT FROM systems) OR EXISTS (SELECT FROM information WHERE name = 'metadata')")
    return bool(cursor.fetchone()[0])


def _connect(address: Address) -> Any:
    """Open a connection of psycopg2's.

    Raises
    ------
    ConnectionError
        With the driver's reason, but no password.
    """
    import psycopg2

    try:
        return psycopg2.connect(address.full)
    except psycopg2.Error as error:
        reason = address.scrub(" ".join(str(error).split()))
    raise ConnectionError(
        f"no connection to {address}: {reason}. Is the server up, and are address, user and password right? "
        "A password may be in PGPASSWORD or ~/.pgpass."
    )


@cache
def _backend() -> Callable[[Address], Any]:
    """Return what makes ASE's database objects, with what the back end's connections lack.

    Raises
    ------
    InputError
        If the back end or its driver is not installed.
    """
    try:
        from ase_db_backends.postgresql import Connection, PostgreSQLDatabase
    except ImportError as error:
        raise InputError(
            f"PostgreSQL needs ase-db-backends and psycopg2 ({error}). Install them: pip install "
            "'ase-mlwave[postgresql]'."
        ) from error

    class Revocable(Connection):  # type: ignore[misc]  # the back end has no types
        def rollback(self) -> None:
            self.con.rollback()

    class Database(PostgreSQLDatabase):  # type: ignore[misc]
        def __init__(self, address: Address) -> None:
            super().__init__(str(address))
            self.address = address

        def _connect(self) -> Any:
            return Revocable(_connect(self.address))

        def __exit__(self, *exception: Any) -> None:
            try:
                super().__exit__(*exception)
            finally:
                disconnect(self)

    return Database
