"""What was read, in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ase import Atoms

from ase_mlwave.data.duplicates import different_labels
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.text import clean

__all__ = ["summary", "summary_of_structures"]


def summary(dataset: Dataset) -> str:
    """Say in one line what a data set holds, and what its reader did not understand.

    Parameters
    ----------
    dataset : Dataset
        As read.

    Returns
    -------
    str
        Structures, energies, forces, matrices, splits, level, copies of one geometry, and the reader's notes.
    """
    records = dataset.records
    n_dipoles = sum(r.dipole is not None for r in records)
    parts = [
        f"{len(records)} structures, {sum(r.energy is not None for r in records)} energies, "
        f"{sum(r.forces is not None for r in records)} forces, {sum(bool(r.matrices) for r in records)} matrices"
        + (f", {n_dipoles} dipoles" if n_dipoles else ""),
        "splits " + (", ".join(f"{name} {number}" for name, number in dataset.splits.items()) or "none"),
        f"level {dataset.level or 'not named'}",
        *_charged(dataset),
        *_copies(dataset),
        *dataset.notes,
    ]
    line = clean(f"{dataset.source}: {'; '.join(parts)}")  # names in files are anybody's
    return line.replace("\n", " ").replace("\t", " ")


def summary_of_structures(frames: Sequence[Atoms], source: str) -> str:
    """Say in one line what a file of structures holds, of which no labels are needed.

    Parameters
    ----------
    frames : sequence of Atoms
        Of any kind, with or without results.
    source : str
        Where they are from.

    Returns
    -------
    str
        Numbers of structures, of cells among them, and of the results that are left aside.
    """
    results = [{} if atoms.calc is None else atoms.calc.results for atoms in frames]
    counts = Counter(name for some in results for name in some)
    aside = ", ".join(f"{number} {name}" for name, number in counts.items())
    n_cells = sum(bool(atoms.pbc.any()) for atoms in frames)
    structures = f"{len(frames)} structures{f' ({n_cells} periodic)' if n_cells else ''}"
    return clean(f"{source}: {structures}, {f'left aside: {aside}' if aside else 'no results of their own'}").replace(
        "\n", " "
    )


def _charged(dataset: Dataset) -> list[str]:
    counts = Counter((record.charge, record.spin) for record in dataset)
    counts.pop((0, 0), None)
    return [f"charge {q:+d}, {n} unpaired: {number}" for (q, n), number in sorted(counts.items())]


def _copies(dataset: Dataset) -> list[str]:
    """Count records whose geometry came before, and say whether labels and split are the same."""
    first: dict[str, Record] = {}
    splits: dict[str, set[str]] = {}
    n_other_labels = 0
    for record in dataset:
        key = record.geometry_hash()
        splits.setdefault(key, set()).add(str(record.info.get("split", "")))
        earlier = first.setdefault(key, record)
        n_other_labels += earlier is not record and bool(different_labels(earlier, record))
    n_copies = len(dataset) - len(first)
    if not n_copies:
        return []
    n_divided = sum(len(names) > 1 for names in splits.values())
    labels = f", {n_other_labels} with other labels" if n_other_labels else ""
    divided = f", {n_divided} geometries are in several splits" if n_divided else ""
    return [f"{n_copies} are copies of others{labels}{divided}"]
