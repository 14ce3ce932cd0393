"""How a record is laid out in a row of an ASE database."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from ase.db.core import check as check_key_value_pairs
from ase.db.row import AtomsRow

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record

__all__ = ["FAILED", "LABELLED", "PENDING", "columns", "record_from_row", "row_key"]

PENDING, LABELLED, FAILED = "pending", "labelled", "failed"

#: Key-value pairs that are ours; what is left belongs to ``Record.info``.
_OWN_KEYS = {"status", "reason", "geometry_hash", "total_charge", "spin"}


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
    info = {name: value for name, value in row.key_value_pairs.items() if name not in _OWN_KEYS}
    bare = record_from_atoms(row.toatoms())
    return replace(
        bare,
        charge=int(row["total_charge"]),
        spin=int(row["spin"]),
        matrices=row.data.get("matrices", {}),
        info={**info, **row.data.get("info", {})},
    )
