"""How a record is laid out in a row of an ASE database."""

from __future__ import annotations

import json
import warnings
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase.db.core import check as check_key_value_pairs
from ase.db.row import AtomsRow

from ase_mlwave.data.convert import atoms_from_record, refuse_other_than_molecules
from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR, HARTREE, HARTREE_PER_BOHR

__all__ = [
    *("FAILED", "LABELLED", "PENDING"),
    *("RowState", "columns", "labelled_with", "record_from_row", "row_key", "row_numbers", "row_states", "write_new"),
]

PENDING, LABELLED, FAILED = "pending", "labelled", "failed"

#: Key-value pairs that are ours; what is left belongs to ``Record.info``.
_OWN_KEYS = {"status", "reason", "geometry_hash", "total_charge", "spin"}


#: Rows asked for in one statement.
_CHUNK = 500


@dataclass(frozen=True)
class RowState:
    """Say how far a row has come."""

    status: str
    """``"pending"``, ``"labelled"`` or ``"failed"``."""
    changed: float
    """When it was last written, in ASE's years."""


def columns(record: Record, key: str, status: str, reason: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the key-value pairs and the data of a row.

    Parameters
    ----------
    record : Record
        What the row holds; geometry, energy and forces go to ASE's own columns, not here.
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
        "status": status,
        "geometry_hash": key,
        "total_charge": record.charge,
        "spin": record.spin,
    }
    if reason:
        pairs["reason"] = reason
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


def _is_key_value_pair(name: str, value: Any) -> bool:
    """Tell whether ASE stores this as a key-value pair and gives the same back."""
    if not isinstance(value, str | bool | int | float):
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
    info = {name: value for name, value in row.key_value_pairs.items() if name not in _OWN_KEYS}
    energy, forces = row.get("energy"), row.get("forces")
    return Record(
        numbers=row["numbers"],
        positions=row["positions"] / BOHR,
        energy=None if energy is None else float(energy) / HARTREE,
        forces=None if forces is None else np.asarray(forces) / HARTREE_PER_BOHR,
        charge=int(row["total_charge"]),
        spin=int(row["spin"]),
        matrices=row.data.get("matrices", {}),
        info={**info, **row.data.get("info", {})},
    )


def write_new(db: Any, record: Record, known: dict[str, int]) -> int:
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
    if key not in known:
        status = PENDING if record.energy is None else LABELLED
        known[key] = db.write(atoms_from_record(replace(record, info={})), *columns(record, key, status))
        db.change_count = 0  # else ASE commits in between, after every 5000 rows
    return known[key]


def row_numbers(db: Any) -> dict[str, int]:
    """Return the numbers of all rows by the keys of their geometries, inside ``with db:``."""
    return {pairs["geometry_hash"]: number for number, _, pairs in _light_rows(db, None)}


def row_states(db: Any, rows: Iterable[int] | None = None) -> dict[int, RowState]:
    """Return how far rows, by default all, have come, inside ``with db:``."""
    return {number: RowState(pairs["status"], changed) for number, changed, pairs in _light_rows(db, rows)}


def labelled_with(db: Any, key: str, values: Container[Any]) -> list[int]:
    """Return the numbers of the labelled rows whose key-value pair is among these, in order, inside ``with db:``."""
    rows = _light_rows(db, None)
    return [number for number, _, pairs in rows if pairs["status"] == LABELLED and pairs.get(key) in values]


def _light_rows(db: Any, rows: Iterable[int] | None) -> list[tuple[int, float, dict[str, Any]]]:
    """Read numbers, times and key-value pairs without the atoms and the data that ASE reads with every row."""
    cursor = db.connection.cursor()
    found = []
    for where in _conditions(rows):
        cursor.execute(f"SELECT id, mtime, key_value_pairs FROM systems{where} ORDER BY id")
        found += cursor.fetchall()
    # SQLite has text here, PostgreSQL what the text means.
    return [(number, time, json.loads(pairs) if isinstance(pairs, str) else pairs) for number, time, pairs in found]


def _conditions(rows: Iterable[int] | None) -> list[str]:
    if rows is None:
        return [""]
    numbers = sorted({int(row) for row in rows})
    parts = (numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK))
    return [f" WHERE id IN ({', '.join(map(str, part))})" for part in parts]
