"""A base level of theory that a model corrects: the model learns reference minus base, and the base is added back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Record
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.systems.system import System

__all__ = ["base_labels", "base_level", "difference", "differences"]


@lru_cache(maxsize=8)
def base_level(name: str) -> LevelOfTheory:
    """Return a level of theory that models can correct.

    Parameters
    ----------
    name : str
        As `LevelOfTheory.parse` takes it; ``"gfn2-xtb"`` is the one that makes sense for most.

    Returns
    -------
    LevelOfTheory

    Raises
    ------
    InputError
        If there is no such level, its program is not installed, or it is a model that corrects another level itself.
    """
    try:
        level = LevelOfTheory.parse(name)
    except InputError as error:
        raise InputError(f"the base level {name!r}, which is to be corrected, cannot be had: {error}") from error
    corrected = level.settings().get("base")
    if corrected is not None:
        raise InputError(f"the base level {name!r} is a model that corrects {corrected!r} itself. Take that one.")
    return level


def base_labels(base: str, system: System) -> Record:
    """Compute a molecule's energy and forces at a base level, in atomic units; raises as ``LevelOfTheory.label``."""
    return base_level(base).label(Record(system.numbers, system.positions, charge=system.charge, spin=system.spin))


def difference(record: Record, base: Record) -> Record:
    """Return a record whose energy, and forces where both have them, are those of one level less those of another.

    Parameters
    ----------
    record, base : Record
        One geometry with labels of two levels; ``info`` is that of the first.

    Returns
    -------
    Record
        Without other labels.

    Raises
    ------
    InputError
        If an energy is missing.
    """
    if record.energy is None or base.energy is None:
        raise InputError(f"{record.formula} has no energy to take a base level's from. Label it first.")
    has_forces = record.forces is not None and base.forces is not None
    forces = record.forces - base.forces if has_forces else None  # type: ignore[operator]
    return replace(record.unlabelled(), energy=record.energy - base.energy, forces=forces)


def differences(records: Iterable[Record], base: Iterable[Record]) -> tuple[Record, ...]:
    """Take a base level off the labels of records.

    Parameters
    ----------
    records : iterable of Record
        With labels.
    base : iterable of Record
        The same geometries in any order, labelled at the base level; records that it lacks are left out.

    Returns
    -------
    tuple of Record
        In the order of ``records``, as `difference` makes them.
    """
    known = {record.geometry_hash(): record for record in base}
    return tuple(difference(record, known[key]) for record in records if (key := record.geometry_hash()) in known)
