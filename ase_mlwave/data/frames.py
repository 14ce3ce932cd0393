"""Structures of a file as one data set: what was read of them, and what the file says that was not."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

from ase import Atoms

from ase_mlwave.data.convert import Structure, read_structure
from ase_mlwave.data.labels import LabelConventions
from ase_mlwave.data.record import Dataset
from ase_mlwave.text import clean

__all__ = ["common_level", "dataset_of"]

#: Entry of a structure that names the level of theory.
_LEVEL = "level"


def dataset_of(frames: Iterable[Atoms], source: str, conventions: LabelConventions, level: str | None) -> Dataset:
    """Make a data set of structures.

    Parameters
    ----------
    frames : iterable of Atoms
        Molecules.
    source : str
        What the file is called in messages.
    conventions : LabelConventions
        Names and units of the labels.
    level : str, optional
        Level of theory, where the structures do not name it in an entry ``level``.

    Returns
    -------
    Dataset
        Its notes name the labels' entries where they are unusual, and what was not read.

    Raises
    ------
    ValueError
        If a structure is no molecule or contradicts itself, the levels of theory differ, or none has the labels asked
        for.

    Warns
    -----
    UserWarning
        If ASE's or tblite's ways of giving charge and spin say otherwise than what was read.
    """
    structures = []
    for number, atoms in enumerate(frames):
        try:
            structures.append(read_structure(atoms, conventions))
        except ValueError as error:
            raise ValueError(f"structure {number} of {source}: {clean(str(error))}") from error
    _warn_of_other_statements(structures, source)
    _refuse_missing(structures, conventions, source)
    records = tuple(structure.record.without_info(_LEVEL) for structure in structures)
    named = {str(structure.record.info.get(_LEVEL, "")) for structure in structures}
    return Dataset(records, common_level(named, level, source), source, notes=_notes(structures))


def common_level(named: Iterable[str], stated: str | None, source: str) -> str:
    """Return the one level of theory that a file names, or else the one that the caller states.

    Raises
    ------
    ValueError
        If there are several.
    """
    levels = sorted(set(named))
    if stated is not None and levels in ([], [""]):
        return stated
    if len(levels) > 1:
        raise ValueError(f"{source} mixes levels of theory ({', '.join(map(repr, levels))}); split it by level.")
    if stated is not None and levels != [stated]:
        raise ValueError(f"{source} is at {levels[0]!r}, not at {stated!r}. Leave the level out.")
    return levels[0] if levels else ""


def _warn_of_other_statements(structures: Sequence[Structure], source: str) -> None:
    """Warn once of a file, however many structures it has."""
    speaking = [(place, one) for place, one in enumerate(structures) if one.other_statements]
    if speaking:
        place, first = speaking[0]
        others = f" (and of {len(speaking) - 1} others)" if len(speaking) > 1 else ""
        warnings.warn(
            f"structure {place} of {source}{others}: {first.other_statements[0]}; give atoms.info['charge'] and "
            "['spin'] (unpaired electrons).",
            stacklevel=4,
        )


def _refuse_missing(structures: Sequence[Structure], conventions: LabelConventions, source: str) -> None:
    """Refuse a name of a label that no structure has."""
    for key, name, present in (
        ("energy_key", conventions.energy_key, any(one.labels.energy is not None for one in structures)),
        ("forces_key", conventions.forces_key, any(one.labels.forces is not None for one in structures)),
    ):
        if name is not None and not present:
            entries = {f"entry {entry}" for one in structures for entry in one.record.info}
            available = sorted(entries.union(*(one.labels.passed_over for one in structures)))
            raise ValueError(
                f"no structure of {source} has {name!r} ({key}) as a number or array that fits. There are: "
                f"{', '.join(available) or 'none'}."
            )


def _notes(structures: Sequence[Structure]) -> tuple[str, ...]:
    """Say under which names labels were found, and what was not read."""
    notes = []
    for quantity, usual, names in (
        ("energies", "energy", [one.labels.energy_names for one in structures]),
        ("forces", "forces", [one.labels.forces_names for one in structures]),
    ):
        counts = Counter(some[0] for some in names if some)
        if counts and list(counts) != [usual]:
            notes.append(f"{quantity} from {_counted(counts)}")
    passed_over = Counter(word for one in structures for word in one.labels.passed_over)
    if passed_over:
        notes.append(f"not understood as a label: {_counted(passed_over)}")
    return tuple(notes)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({number})" for name, number in counts.items())
