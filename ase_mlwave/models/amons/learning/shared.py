"""Labels of amons that all queries of a user share: a database for each level, in the user's data folder."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from ase.calculators.calculator import InputError
from platformdirs import user_data_path

from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["level_slug", "shared_database"]

#: Characters of a level's name that file names keep, and how many of them.
_ODD, _LONGEST = re.compile(r"[^a-z0-9.+()=_-]+"), 60


def shared_database(level: LevelOfTheory) -> Path:
    """Return the database of a level in the user's data folder, whose folder is made if need be.

    Parameters
    ----------
    level : LevelOfTheory
        One that a string names.

    Returns
    -------
    Path
        Such as ``~/.local/share/ase-mlwave/amons/pbe-def2-svp-0123456789ab.db``; the digits are of the SHA-256 of the
        level's name and of all settings that decide its numbers.

    Raises
    ------
    InputError
        If the folder cannot be made.

    Notes
    -----
    Two levels never share a file, however alike their names (``test_every_level_has_its_own_shared_database``).
    """
    folder = user_data_path("ase-mlwave", appauthor=False) / "amons"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"labels of amons cannot be kept in {folder}, where all your queries share them: {error}. Give a file of "
            "your own, database='amons.db'."
        ) from error
    return folder / f"{level_slug(level)}.db"


def level_slug(level: LevelOfTheory) -> str:
    """Return a level's name and a hash of all that decides its numbers, as part of a file's name."""
    key = json.dumps([level.name, level.settings()], sort_keys=True)
    digits = hashlib.sha256(key.encode()).hexdigest()[:12]
    return f"{_ODD.sub('-', level.name.lower())[:_LONGEST]}-{digits}"
