"""Divide a dataset into named splits, at random with a seed, and keep what belongs together in one split."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from hashlib import md5

import numpy as np

from ase_mlwave.data.duplicates import connected_groups, equal_geometries
from ase_mlwave.data.record import Dataset, Record

__all__ = ["assign_splits", "formula_split", "parse_fractions"]


def assign_splits(dataset: Dataset, fractions: Mapping[str, float], seed: int, group: str | None = None) -> Dataset:
    """Give every record a split.

    Parameters
    ----------
    dataset : Dataset
        Not changed; splits that it has are replaced.
    fractions : mapping of str to float
        Share of each split, such as ``{"train": 0.8, "valid": 0.1, "test": 0.1}``; they add up to 1.
    seed : int
        Of the shuffle.
    group : str, optional
        Entry of ``Record.info``, such as ``"smiles"``; records with the same entry go to the same split, so that a
        test split has no molecule that was trained on. ``"formula"`` groups by sum formula. Equal geometries
        (`ase_mlwave.data.duplicates.equal_geometries`) always go to the same split. Shares count records, and hold as
        nearly as whole groups allow.

    Returns
    -------
    Dataset
        The same records in the same order with ``info["split"]``. ``DatasetFile.assign`` writes them to a file.

    Raises
    ------
    ValueError
        If the shares are negative or do not add up to 1, there are fewer different geometries (or groups) than splits,
        or a record lacks the entry.

    Notes
    -----
    The same seed gives the same splits; no group is divided (``test_no_group_is_divided``), nor are copies of one
    geometry (``test_copies_of_a_geometry_are_in_one_split``).
    """
    _check_fractions(fractions)
    names, shares = list(fractions), np.array(list(fractions.values()), dtype=np.float64)
    groups = _groups(dataset, group)
    if len(groups) < len(names):
        units = "different geometries" if group is None else f"different values of {group!r}"
        raise ValueError(f"{dataset.source} has {len(groups)} {units}, too few for {len(names)} splits.")
    targets = shares * len(dataset)
    filled = np.zeros(len(names))
    assigned = [""] * len(dataset)
    for number in np.random.default_rng(seed).permutation(len(groups)):
        emptiest = int(np.argmin(filled / targets))  # the split that is furthest from its share
        filled[emptiest] += len(groups[number])
        for index in groups[number]:
            assigned[index] = names[emptiest]
    records = tuple(record.with_info(split=name) for record, name in zip(dataset, assigned, strict=True))
    return replace(dataset, records=records)


def formula_split(record: Record) -> str:
    """Say which split a molecule belongs to by its sum formula alone, in whatever dataset it occurs.

    Parameters
    ----------
    record : Record
        Only its ``formula`` counts.

    Returns
    -------
    str
        ``"test"`` for one formula in five, ``"valid"`` for one in ten, ``"train"`` otherwise.

    Notes
    -----
    No isomer of a test molecule is ever in the training split, also of data that are added later; the shares hold for
    formulas, not for records. The rule is the MD5 of the formula in Hill order, modulo 5 (0: test) and 20 (1 or 2:
    valid) (``test_formula_decides_alone``). The data set that ships goes by it, with water moved from valid to train
    (``test_shipped_splits_follow_the_rule``).
    """
    number = int(md5(record.formula.encode(), usedforsecurity=False).hexdigest(), 16)
    if number % 5 == 0:
        return "test"
    return "valid" if number % 20 in {1, 2} else "train"


def parse_fractions(text: str) -> dict[str, float]:
    """Read the shares of splits from ``"train=0.8,valid=0.1,test=0.1"``.

    Parameters
    ----------
    text : str
        Name and share of each split.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If the text is malformed, or the shares are not positive or do not add up to 1.
    """
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = (word.strip() for word in part.partition("="))
        try:
            fractions[name] = float(share)
        except ValueError:
            raise ValueError(f"splits are written as 'train=0.8,valid=0.1,test=0.1' (got {text!r}).") from None
    _check_fractions(fractions)
    return fractions


def _check_fractions(fractions: Mapping[str, float]) -> None:
    shares = np.array(list(fractions.values()), dtype=np.float64)
    if not all(fractions) or not (shares > 0).all() or not np.isclose(shares.sum(), 1.0):
        raise ValueError(f"splits need names and positive shares that add up to 1 (got {dict(fractions)}).")


def _groups(dataset: Dataset, group: str | None) -> list[list[int]]:
    """Return the records by what must not be divided, in order of first appearance."""
    geometries = equal_geometries(dataset.records)
    n_records = len(dataset)
    first: dict[Hashable, int] = {}
    leaders = [first.setdefault(_group_of(dataset, index, group), index) for index in range(n_records)]
    # A graph of records (first) and geometries (after them): each record is linked to its geometry and its group.
    columns = np.concatenate([geometries + n_records, leaders]).astype(np.int64)
    links = np.stack([np.tile(np.arange(n_records), 2), columns], axis=1)
    members: dict[int, list[int]] = {}
    for index, number in enumerate(connected_groups(links, 2 * n_records)[:n_records].tolist()):
        members.setdefault(number, []).append(index)
    return list(members.values())


def _group_of(dataset: Dataset, index: int, group: str | None) -> Hashable:
    """Return what the record must share with the others of its split."""
    record = dataset[index]
    if group is None:
        return index
    if group == "formula":
        return record.formula
    if group not in record.info:
        raise ValueError(
            f"record {index} of {dataset.source} has no {group!r} to group by; it has "
            f"{', '.join(map(repr, record.info)) or 'no entries'}."
        )
    value: Hashable = record.info[group]
    return value
