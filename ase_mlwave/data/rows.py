"""How a record is laid out in a row of an ASE database."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase.db.core import check as check_key_value_pairs
from ase.db.row import AtomsRow

from ase_mlwave.data.convert import atoms_from_record, refuse_other_than_molecules
from ase_mlwave.data.lookups import count_values, find_rows, light_rows, mark, stored_metadata
from ase_mlwave.data.metadata import FORMAT_VERSION
from ase_mlwave.data.record import Record
from ase_mlwave.properties import LABELS
from ase_mlwave.units import BOHR

__all__ = [
    *("FAILED", "LABELLED", "PENDING"),
    *("OwnPairs", "RowState", "columns", "labelled_with", "numbers_with", "record_from_row", "row_key"),
    *("row_numbers", "row_states", "split_pairs", "status_counts", "upgrade", "write_new"),
]

PENDING, LABELLED, FAILED = "pending", "labelled", "failed"

#: What our own key-value pairs begin with; all others are entries of ``Record.info``, whatever they are called.
_PREFIX = "mlwave_"
#: Our own key-value pairs in format 1, and their names since.
_FIRST_NAMES = {
    "status": f"{_PREFIX}status",
    "reason": f"{_PREFIX}reason",
    "geometry_hash": f"{_PREFIX}key",
    "total_charge": f"{_PREFIX}charge",
    "spin": f"{_PREFIX}spin",
}
#: Whole numbers beyond are not exact in a database's columns of numbers.
_LARGEST = 2**53


@dataclass(frozen=True)
class RowState:
    """Say how far a row has come."""

    status: str
    """``"pending"``, ``"labelled"`` or ``"failed"``."""
    changed: float
    """When it was last written, in ASE's years."""
    reason: str = ""
    """Why there are no labels, if that has been tried."""


@dataclass(frozen=True)
class OwnPairs:
    """Hold our own key-value pairs of a row."""

    status: str
    key: str
    charge: int
    spin: int
    reason: str = ""


def split_pairs(pairs: Mapping[str, Any]) -> tuple[OwnPairs, dict[str, Any]]:
    """Tell our own key-value pairs from entries of ``Record.info``, in a row of any format.

    Parameters
    ----------
    pairs : mapping
        All of a row.

    Returns
    -------
    tuple
        Ours, and the others.
    """
    if f"{_PREFIX}status" in pairs:
        own = {name: value for name, value in pairs.items() if name.startswith(_PREFIX)}
    else:  # format 1
        own = {_FIRST_NAMES[name]: value for name, value in pairs.items() if name in _FIRST_NAMES}
        pairs = {name: value for name, value in pairs.items() if name not in _FIRST_NAMES}
    info = {name: value for name, value in pairs.items() if name not in own}
    try:
        return OwnPairs(**{name.removeprefix(_PREFIX): value for name, value in own.items()}), info
    except TypeError as error:
        raise ValueError(f"a row has no, or other, key-value pairs of ours ({', '.join(own) or 'none'})") from error


def columns(record: Record, key: str, status: str, reason: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the key-value pairs and the data of a row.

    Parameters
    ----------
    record : Record
        What the row holds; geometry and labels go to ASE's own columns, not here.
    key : str
        From ``row_key``, of the geometry that was asked for.
    status : str
        ``PENDING``, ``LABELLED`` or ``FAILED``.
    reason : str
        Why it failed.

    Returns
    -------
    tuple of dict
        Key-value pairs (what ``ase db`` can select by) and ``data``.
    """
    pairs: dict[str, Any] = {
        f"{_PREFIX}status": status,
        f"{_PREFIX}key": key,
        f"{_PREFIX}charge": record.charge,
        f"{_PREFIX}spin": record.spin,
    }
    if reason:
        pairs[f"{_PREFIX}reason"] = reason
    other = {}
    for name, value in record.info.items():
        if isinstance(value, np.generic):
            value = value.item()
        if _is_key_value_pair(name, value):
            pairs[name] = value
        else:
            other[name] = value
    return pairs, {"matrices": dict(record.matrices), "info": other}


def row_key(record: Record) -> str:
    """Return the geometry hash with a prefix, because ASE refuses strings that look like a number."""
    return f"sha256:{record.geometry_hash()}"


def _is_key_value_pair(name: object, value: Any) -> bool:
    """Tell whether ASE stores this as a key-value pair and gives the same back."""
    if not isinstance(name, str) or name.startswith(_PREFIX) or not isinstance(value, str | bool | int | float):
        return False
    if not isinstance(value, str) and not abs(value) <= _LARGEST:  # nor what is not finite
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_key_value_pairs({name: value})
    except (ValueError, UserWarning):
        return False
    return True


def record_from_row(row: AtomsRow) -> Record:
    """Return the molecule of a row in atomic units."""
    refuse_other_than_molecules(row["natoms"], row["pbc"])
    own, info = split_pairs(row.key_value_pairs)
    labels = {name: row.get(name) for name in LABELS}
    return Record(
        numbers=row["numbers"],
        positions=row["positions"] / BOHR,
        charge=int(own.charge),
        spin=int(own.spin),
        matrices=row.data.get("matrices", {}),
        info={**info, **row.data.get("info", {})},
        **{name: LABELS[name].from_ase(np.asarray(value)) for name, value in labels.items() if value is not None},
    )


def write_new(db: Any, record: Record, row_of: dict[str, int]) -> int:
    """Write a molecule unless there is a row with its geometry.

    Parameters
    ----------
    db : ase.db.core.Database
        Inside ``with db:``.
    record : Record
        Labelled where it has an energy, pending where not.
    known : dict of str to int
        From ``row_numbers``; a new row is entered.

    Returns
    -------
    int
        Number of the row that has the geometry.
    """
    key = row_key(record)
    if key not in row_of:
        status = PENDING if record.energy is None else LABELLED
        row_of[key] = db.write(atoms_from_record(replace(record, info={})), *columns(record, key, status))
        db.change_count = 0  # else ASE commits in between, after every 5000 rows
    return row_of[key]


def row_numbers(db: Any, records: Iterable[Record]) -> dict[str, int]:
    """Return the numbers of the rows that have these geometries, by their keys, inside ``with db:``."""
    keys = {row_key(record) for record in records}
    return dict(find_rows(db, _pair_name(db, "key"), keys))


def row_states(db: Any, rows: Iterable[int] | None = None) -> dict[int, RowState]:
    """Return how far rows, by default all, have come, inside ``with db:``."""
    states = {}
    for number, changed, pairs in light_rows(db, rows):
        own, _ = split_pairs(pairs)
        states[number] = RowState(own.status, changed, own.reason)
    return states


def status_counts(db: Any) -> dict[str, int]:
    """Return how many rows there are of each status, inside ``with db:``."""
    return count_values(db, _pair_name(db, "status"))


def numbers_with(db: Any, *statuses: str) -> list[int]:
    """Return the numbers of the rows of these statuses, in order, inside ``with db:``."""
    return [number for _, number in find_rows(db, _pair_name(db, "status"), statuses)]


def labelled_with(db: Any, key: str, values: Collection[Any]) -> list[int]:
    """Return the numbers of the labelled rows whose key-value pair is among these, in order, inside ``with db:``."""
    numbers = [number for _, number in find_rows(db, key, values)]
    return [number for number, state in row_states(db, numbers).items() if state.status == LABELLED]


def upgrade(db: Any) -> None:
    """Give our own key-value pairs of format 1 their present names, inside a transaction of ``db``.

    Notes
    -----
    Rows keep their time of change (``test_first_format_is_read_and_upgraded``).
    """
    cursor = db.connection.cursor()
    for number, _, pairs in light_rows(db, None):
        renamed = {_FIRST_NAMES.get(name, name): value for name, value in pairs.items()}
        statement = f"UPDATE systems SET key_value_pairs = {mark(db)} WHERE id = {mark(db)}"
        cursor.execute(statement, (json.dumps(renamed), number))
    for table in ("keys", "text_key_values", "number_key_values"):
        for before, after in _FIRST_NAMES.items():
            cursor.execute(f"UPDATE {table} SET key = {mark(db)} WHERE key = {mark(db)}", (after, before))
    metadata = {**stored_metadata(db), "format_version": FORMAT_VERSION}
    cursor.execute(f"UPDATE information SET value = {mark(db)} WHERE name = 'metadata'", (json.dumps(metadata),))


def _pair_name(db: Any, name: str) -> str:
    """Return what one of our own key-value pairs is called in a database, which may be of format 1."""
    current = f"{_PREFIX}{name}"
    if stored_metadata(db)["format_version"] == FORMAT_VERSION:
        return current
    return next(first for first, present in _FIRST_NAMES.items() if present == current)
