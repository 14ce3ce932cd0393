"""Rows of an ASE database found by an index of SQL's, without reading the others.

ASE keeps each key-value pair twice: in the row's JSON text, and in one of two tables for selections. Its own indices of
these tables are by key alone, so that a look-up reads every row that has the key, and changing a row reads all tables.
Ours are by key and value, and by the number of the row.
All functions are called inside ``with db:``, and serve SQLite and PostgreSQL.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["count_values", "create_indices", "find_rows", "light_rows", "mark", "stored_metadata"]

#: Rows or values asked for in one statement.
_CHUNK = 500
#: PostgreSQL has no index of long texts: a condition of the index there, and of what shall use it.
_LONG = 500
_SHORT = {"db": "", "postgresql": f" AND length(value) < {_LONG}"}

T = TypeVar("T")


def create_indices(db: Any) -> None:
    """Make the indices of a database, unless they are there.

    Parameters
    ----------
    db : ase.db.core.Database
        Ours.
    """
    short = _SHORT[db.type].replace(" AND", " WHERE")
    cursor = db.connection.cursor()
    cursor.execute(f"CREATE INDEX IF NOT EXISTS mlwave_texts ON text_key_values (key, value){short}")
    cursor.execute("CREATE INDEX IF NOT EXISTS mlwave_numbers ON number_key_values (key, value)")
    for table in ("text_key_values", "number_key_values", "keys", "species"):
        cursor.execute(f"CREATE INDEX IF NOT EXISTS mlwave_{table}_id ON {table} (id)")


def find_rows(db: Any, key: str, values: Collection[Any]) -> list[tuple[Any, int]]:
    """Find the rows whose key-value pair is one of these.

    Parameters
    ----------
    db : ase.db.core.Database
        With our indices or without.
    key : str
        Name of the pair.
    values : collection of str, int, float or bool
        Texts and numbers are not mixed up.

    Returns
    -------
    list of (value, number of the row)
        By number; numbers are floats.

    Notes
    -----
    Milliseconds at 20,000 rows (``test_lookups_use_the_indices``).
    """
    cursor = db.connection.cursor()
    texts = [value for value in values if isinstance(value, str)]
    numbers = [float(value) for value in values if not isinstance(value, str)]
    rows: list[tuple[Any, int]] = []
    is_short = max(map(len, texts), default=0) < _LONG
    for table, targets, short in (
        ("text_key_values", texts, _SHORT[db.type] if is_short else ""),
        ("number_key_values", numbers, ""),
    ):
        for some in _parts(targets):
            marks = ", ".join([mark(db)] * len(some))
            statement = f"SELECT value, id FROM {table} WHERE key = {mark(db)} AND value IN ({marks}){short}"
            cursor.execute(statement, (key, *some))
            rows += cursor.fetchall()
    return sorted(rows, key=lambda pair: pair[1])


def count_values(db: Any, key: str) -> dict[str, int]:
    """Count rows by the text of a key-value pair.

    Parameters
    ----------
    db : ase.db.core.Database
        Any.
    key : str
        Name of the pair.

    Returns
    -------
    dict of str to int
    """
    cursor = db.connection.cursor()
    statement = f"SELECT value, COUNT(*) FROM text_key_values WHERE key = {mark(db)}{_SHORT[db.type]} GROUP BY value"
    cursor.execute(statement, (key,))
    return dict(cursor.fetchall())


def light_rows(db: Any, rows: Iterable[int] | None) -> list[tuple[int, float, dict[str, Any]]]:
    """Read rows, by default all, without the atoms and the data that ASE reads with them.

    Parameters
    ----------
    db : ase.db.core.Database
        Any.
    rows : iterable of int, optional
        Numbers of rows.

    Returns
    -------
    list of (number, time of change, key-value pairs)
        By number.
    """
    cursor = db.connection.cursor()
    columns: list[Any] = []
    for where in _conditions(rows):
        cursor.execute(f"SELECT id, mtime, key_value_pairs FROM systems{where} ORDER BY id")
        columns += cursor.fetchall()
    # SQLite has text here, PostgreSQL what the text means.
    return [(number, time, json.loads(pairs) if isinstance(pairs, str) else pairs) for number, time, pairs in columns]


def stored_metadata(db: Any) -> dict[str, Any]:
    """Return the metadata as they are now (a database object keeps what it has read itself)."""
    cursor = db.connection.cursor()
    cursor.execute("SELECT value FROM information WHERE name = 'metadata'")
    (text,) = cursor.fetchone()
    return dict(json.loads(text) if isinstance(text, str) else text)


def mark(db: Any) -> str:
    """Return what stands for a parameter in a statement."""
    return "?" if db.type == "db" else "%s"


def _conditions(rows: Iterable[int] | None) -> Iterator[str]:
    if rows is None:
        yield ""
        return
    for some in _parts(sorted({int(row) for row in rows})):
        yield f" WHERE id IN ({', '.join(map(str, some))})"


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
