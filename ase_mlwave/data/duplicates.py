"""Records of one geometry: kept in one split, merged by those who write, refused where their labels differ."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from ase_mlwave.data.record import Record
from ase_mlwave.properties import LABELS
from ase_mlwave.units import BOHR

__all__ = ["Merged", "combine", "connected_groups", "different_labels", "equal_geometries", "merge_copies"]

#: Two molecules with all interatomic distances nearer than this are one geometry, Bohr (1e-4 Angstrom).
_SAME_DISTANCES = 1e-4 / BOHR
#: Positions that differ by less are those of one geometry, rounded in different ways, Bohr (1e-6 Angstrom).
_SAME_POSITIONS = 1e-6 / BOHR
#: Labels, in atomic units, and matrices that differ by less are one, rounded in different ways.
_SAME_LABELS, _SAME_MATRICES = 4e-6, 1e-6


def equal_geometries(records: Sequence[Record]) -> NDArray[np.int64]:
    """Find out which records have the same molecule in the same geometry.

    Parameters
    ----------
    records : sequence of Record
        In any order.

    Returns
    -------
    (len(records),) int64
        A number of the geometry; equal ones for records that differ by a translation, a rotation, a reflection or the
        order of atoms, or by less than 1e-4 Angstrom in each interatomic distance, with one charge and spin.

    Notes
    -----
    Compares the sorted distances of each pair of elements (``test_copies_are_found_however_they_lie``).
    """
    kinds = [(record.formula, record.charge, record.spin) for record in records]
    return _clusters(kinds, [_sorted_distances(record) for record in records], _SAME_DISTANCES)


def _clusters(kinds: Sequence[Hashable], points: Sequence[NDArray[np.float64]], radius: float) -> NDArray[np.int64]:
    """Group points of one kind that are near one another in every coordinate; return the number of each one's group."""
    places: dict[Hashable, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for some in places.values():
        coordinates = np.array([points[place] for place in some])
        if not coordinates.shape[1]:  # the distances of lone atoms
            close = np.array([(0, other) for other in range(1, len(some))], dtype=np.int64).reshape(-1, 2)
        else:
            close = KDTree(coordinates).query_pairs(radius, p=np.inf, output_type="ndarray")
        pairs.append(np.array(some, dtype=np.int64)[close])
    return connected_groups(np.concatenate(pairs), len(kinds))


def connected_groups(links: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Find the groups of things that are linked, directly or through others.

    Parameters
    ----------
    links : (L, 2) int64
        Pairs of things, numbered from 0.
    n : int
        How many things there are.

    Returns
    -------
    (n,) int64
        The number of each one's group.
    """
    matrix = coo_array((np.ones(len(links)), tuple(links.T)), shape=(n, n))
    return np.asarray(connected_components(matrix, directed=False)[1], dtype=np.int64)


def _sorted_distances(record: Record) -> NDArray[np.float64]:
    """Return all interatomic distances, Bohr: sorted by the pair of elements, then by length."""
    first, second = np.triu_indices(len(record), 1)
    kinds = np.sort(record.numbers[np.stack([first, second])], axis=0)
    distances = pdist(record.positions)
    return np.asarray(distances[np.lexsort((distances, kinds[1], kinds[0]))], dtype=np.float64)


@dataclass(frozen=True)
class Merged:
    """Hold records of which no two have one geometry, and what became of the others."""

    records: tuple[Record, ...]
    n_copies: int
    dropped: tuple[str, ...]
    """Names of entries that copies had with other values."""

    def in_words(self) -> str:
        """Say what was merged; empty if nothing was."""
        if not self.n_copies:
            return ""
        dropped = f"; of their entries {', '.join(self.dropped)} only the first are kept" if self.dropped else ""
        are = "record is a copy" if self.n_copies == 1 else "records are copies"
        return f"{self.n_copies} {are} of others in geometry and labels, and merged with them{dropped}"


def merge_copies(records: Sequence[Record], source: str) -> Merged:
    """Make one record of all that have the same positions, to the 1e-6 Angstrom that a text file may round away.

    Parameters
    ----------
    records : sequence of Record
        In any order.
    source : str
        What they are called in messages.

    Returns
    -------
    Merged
        In order of first appearance.

    Raises
    ------
    ValueError
        If two of one geometry have different labels, or are in different splits.
    """
    kinds = [(record.numbers.tobytes(), record.charge, record.spin) for record in records]
    numbers = _clusters(kinds, [record.positions.ravel() for record in records], _SAME_POSITIONS)
    merged: dict[int, Record] = {}
    places: dict[int, int] = {}
    dropped: dict[str, None] = {}
    for place, (key, record) in enumerate(zip(numbers.tolist(), records, strict=True)):
        if key not in merged:
            merged[key], places[key] = record, place
            continue
        try:
            merged[key] = combine(merged[key], record)
        except ValueError as error:
            raise ValueError(
                f"records {places[key]} and {place} of {source} ({record.formula}) have one geometry, but {error}"
            ) from error
        dropped.update(dict.fromkeys(_different_entries(merged[key].info, record.info)))
    return Merged(tuple(merged.values()), len(records) - len(merged), tuple(dropped))


def combine(first: Record, second: Record) -> Record:
    """Make one record of two of one geometry: the labels of both, and of entries that differ the first's.

    Parameters
    ----------
    first, second : Record
        Of one geometry.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        If both have a label and it differs, or they are in different splits; the message is the end of a sentence.
    """
    difference = different_labels(first, second)
    if difference:
        raise ValueError(f"their labels differ: {difference}. Remove the wrong one.")
    splits = [str(record.info["split"]) for record in (first, second) if "split" in record.info]
    if len(set(splits)) > 1:
        raise ValueError(f"one is in the split {splits[0]!r} and the other in {splits[1]!r}. Assign the splits anew.")
    return replace(
        first,
        matrices={**second.matrices, **first.matrices},
        info={**second.info, **first.info},
        **{**second.labels, **first.labels},
    )


def different_labels(first: Record, second: Record) -> str:
    """Say which label of two records of one geometry is another; empty where those that both have are the same.

    Parameters
    ----------
    first, second : Record
        Of one geometry.

    Returns
    -------
    str
        Name and size of the difference.
    """
    labels = [name for name in first.labels if name in second.labels]
    pairs = [(n, first.labels[n], second.labels[n], LABELS[n].unit, _SAME_LABELS) for n in labels]
    matrices = first.matrices.keys() & second.matrices.keys()
    pairs += [(f"matrix {n!r}", first.matrices[n], second.matrices[n], "", _SAME_MATRICES) for n in matrices]
    for label, one, other, unit, tolerance in pairs:
        if np.shape(one) != np.shape(other):
            return f"{label} of another shape"
        difference = float(np.abs(np.asarray(one) - np.asarray(other)).max())
        if difference > tolerance:
            return f"{label} by {difference:.3g} {unit}".rstrip()
    return ""


def _different_entries(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return [name for name, value in second.items() if not np.array_equal(first[name], value)]
