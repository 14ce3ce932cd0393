"""What the metadata of a dataset say, and which are accepted."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from ase_mlwave.text import clean, plain
from ase_mlwave.units import BOHR, HARTREE

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "check_metadata",
    "differ_in_forces_only",
    "new_metadata",
    "read_metadata",
    "upgraded_metadata",
    "without_response",
]

#: Increased when the layout changes. Older versions are read as they are and upgraded when something is written to them
#: (`ase_mlwave.data.rows.upgrade`), newer ones refused. 2: our own key-value pairs begin with ``mlwave_``.
FORMAT_VERSION = 2

FORMAT = "ase-mlwave dataset"
_CONVENTIONS = {
    "units": {"positions": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "matrices": "Hartree"},
    "ao_convention": "pyscf spherical",
}
#: The setting that says whether forces have the response of the integration grid.
_RESPONSE = "grid_response"
#: Relative deviation of the stored unit constants beyond which a file is refused.
_UNIT_TOLERANCE = 1e-7


def new_metadata(level: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a new dataset.

    Parameters
    ----------
    level : str
        Level of theory.
    settings : mapping
        Everything that decides the numbers, JSON types.

    Returns
    -------
    dict
        Format, units, level of theory and versions.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "title": f"{FORMAT}: {level}" if level else FORMAT,
        "level": level,
        "level_settings": dict(settings),
        **_CONVENTIONS,
        "constants": {"hartree_in_ev": HARTREE, "bohr_in_angstrom": BOHR},
        "versions": {name: version(name) for name in ("ase", "pyscf", "numpy")},
    }


def check_metadata(metadata: Mapping[str, Any], name: str) -> None:
    """Refuse what is no dataset, a newer format, other units or another AO order.

    Parameters
    ----------
    metadata : mapping
        As read.
    name : str
        What the dataset is called in messages.

    Raises
    ------
    ValueError
        With what was found and what is allowed.
    """
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{name} is an ASE database but no {FORMAT} (its metadata do not say so). "
            "Read it with read_dataset, and write a new file with write_database."
        )
    written = metadata.get("format_version")
    if not isinstance(written, int) or written > FORMAT_VERSION:
        raise ValueError(
            f"{name} has format version {written}; this program reads versions up to {FORMAT_VERSION}. Update it."
        )
    plain(str(metadata.get("level", "")), f"the level of theory in {name}")
    for key, expected in _CONVENTIONS.items():
        if metadata.get(key) != expected:
            raise ValueError(f"{name} has {key} {metadata.get(key)!r}; allowed is {expected!r}.")
    constants = metadata.get("constants", {})
    for key, value in (("hartree_in_ev", HARTREE), ("bohr_in_angstrom", BOHR)):
        if not np.isclose(constants.get(key, np.nan), value, rtol=_UNIT_TOLERANCE, atol=0):
            raise ValueError(f"{name} was written with {key} = {constants.get(key)}; here it is {value}.")


def read_metadata(db: Any, name: str) -> dict[str, Any]:
    """Read the metadata of a database.

    Parameters
    ----------
    db : ase.db.core.Database
        Not in use.
    name : str
        What it is called in messages.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is no database of ASE's.
    OSError
        If it cannot be read.
    """
    try:
        with db:
            return dict(db.metadata)
    except OSError:
        raise
    except Exception as error:  # SQLite and ASE raise many kinds for a file that is something else
        raise ValueError(f"{name} is no ASE database: {clean(str(error))}") from error


def upgraded_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Say in today's words what the metadata of an earlier version of this program mean.

    Parameters
    ----------
    metadata : mapping
        As read.

    Returns
    -------
    dict
        Kohn-Sham labels of PySCF that do not say whether their forces have the response of the integration grid are
        from before there was the choice, and have none: level and settings say ``grid_response=false``.
    """
    settings = metadata.get("level_settings") or {}
    functional = str(settings.get("functional", "hf"))
    if settings.get("program") != "pyscf" or _RESPONSE in settings or functional.partition("-")[0] == "hf":
        return dict(metadata)
    level, settings = without_response(str(metadata["level"]), settings)
    return {**metadata, "level": level, "level_settings": settings}


def without_response(level: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a level's name, and its settings if they are known, without the response of the integration grid."""
    words = [word for word in level.split() if not word.startswith(f"{_RESPONSE}=")]
    return " ".join([*words, f"{_RESPONSE}=false"]), {**settings, _RESPONSE: False} if settings else {}


def differ_in_forces_only(level: str, other: str) -> bool:
    """Tell whether two names of levels differ in the grid's response alone: same energies and matrices, other forces.

    Parameters
    ----------
    level, other : str
        Such as ``"pbe/def2-svp"`` and ``"pbe/def2-svp grid_response=false"``.

    Returns
    -------
    bool
        False for equal names.
    """
    words = [[word for word in name.split() if not word.startswith(f"{_RESPONSE}=")] for name in (level, other)]
    return level != other and words[0] == words[1]
