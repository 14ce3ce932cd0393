"""Write extended XYZ files whose comment lines give back what was put in."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import ase.io
import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict, per_config_properties

__all__ = ["check_extxyz", "write_extxyz"]

#: What the format itself writes into the comment line, or takes for it.
_TAKEN = frozenset({"Lattice", "Properties", "pbc"})


def write_extxyz(path: Path, frames: Sequence[Atoms]) -> None:
    """Write structures and the results that their calculators have, all or nothing.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    frames : sequence of Atoms
        Left as they are. Entries that ASE's reader would change (``"007"`` to 7, None to True, a SMILES with a
        backslash) are written as JSON, which it gives back.

    Raises
    ------
    ValueError
        If an entry or array cannot be written such that it is read back, or a result has the name of an entry.
    """
    results = [() if atoms.calc is None else tuple(atoms.calc.results) for atoms in frames]
    copies = _prepared(frames, results)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        _write(draft, copies)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def check_extxyz(frames: Sequence[Atoms], results: Sequence[str]) -> None:
    """Refuse structures that `write_extxyz` could not write, before their results are computed.

    Parameters
    ----------
    frames : sequence of Atoms
        Their calculators do not matter.
    results : sequence of str
        Names of the results to come.

    Raises
    ------
    ValueError
        See `write_extxyz`.
    """
    copies = _prepared(frames, [tuple(results)] * len(frames))
    for copy in copies:
        copy.calc = None
    _write(io.StringIO(), copies)


def _prepared(frames: Sequence[Atoms], results: Sequence[tuple[str, ...]]) -> list[Atoms]:
    """Return copies with the same calculators whose entries are as the writer must be given them."""
    copies = []
    for number, (atoms, names) in enumerate(zip(frames, results, strict=True)):
        copy = atoms.copy()
        copy.calc = atoms.calc
        try:
            for name in names:
                if name in atoms.info or name in atoms.arrays:
                    raise ValueError(f"there is an entry or array {name!r} beside the result of that name. Remove it.")
            copy.info = {name: _text(name, value) for name, value in atoms.info.items()}
        except ValueError as error:
            raise ValueError(f"structure {number}: {error}") from error
        copies.append(copy)
    return copies


def _write(place: Path | io.StringIO, frames: list[Atoms]) -> None:
    try:
        ase.io.write(place, frames, format="extxyz")
    except (KeyError, TypeError) as error:  # arrays of a type that the format lacks
        raise ValueError(f"an array is of a type that extxyz files lack ({type(error).__name__}: {error})") from error


def _text(name: str, value: Any) -> Any:
    """Return what ASE must be given so that its reader returns a value."""
    if name in per_config_properties:  # ASE's own, which it converts itself
        return value
    if name not in _TAKEN:
        for form in (_plain, _as_json):
            try:
                text = form(value)
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # ASE skips what it cannot write, with a warning
                    line = key_val_dict_to_str({name: text})
                back = key_val_str_to_dict(line)
                if "\n" not in line and list(back) == [name] and _is_same(back[name], value):
                    return text
            except (TypeError, ValueError, UserWarning):
                continue
    raise ValueError(
        f"the entry {name!r}, {value!r}, cannot be written such that it is read back. Leave it out, or write a .db."
    )


def _plain(value: Any) -> Any:
    return value.replace("\\", "\\\\") if isinstance(value, str) else value  # the reader takes one away


def _as_json(value: Any) -> str:
    return str(_plain(f"_JSON {json.dumps(value.tolist() if isinstance(value, np.ndarray) else value)}"))


def _is_same(one: Any, other: Any) -> bool:
    """Compare values; numbers of Python and NumPy are the same, and so are lists and arrays."""
    kinds = {np.asarray(value).dtype.kind.replace("u", "i") for value in (one, other)}
    return len(kinds) == 1 and bool(np.array_equal(one, other, equal_nan=kinds == {"f"}))
