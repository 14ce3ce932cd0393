"""Molecules of QM7 and QM9: a random choice by size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.calculators.calculator import InputError

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.perception import molecule_from

__all__ = ["choose"]


def choose(path: Path, sizes: Sequence[int], count: int, seed: int) -> list[Record]:
    """Choose molecules at random among those whose bonds are certain.

    Parameters
    ----------
    path : Path
        A file that ``read_dataset`` reads.
    sizes : sequence of int
        Numbers of heavy atoms.
    count : int
        How many to choose, at most.
    seed : int
        Of the choice; a larger count only adds molecules.

    Returns
    -------
    list of Record
        Without labels; ``info`` has ``"name"`` (file and row) and ``"n_heavy"``.
    """
    found = []
    for row, record in enumerate(read_dataset(path)):
        n_heavy = int((record.numbers > 1).sum())
        if n_heavy in sizes:
            info = {"name": f"{path.stem}-{row}", "n_heavy": n_heavy}
            found.append(replace(record, energy=None, forces=None, info=info))
    chosen: list[Record] = []
    for index in np.random.default_rng(seed).permutation(len(found)):
        if len(chosen) == count:
            break
        if _is_certain(found[index]):
            chosen.append(found[index])
    return chosen


def _is_certain(record: Record) -> bool:
    try:
        molecule_from(record)
    except InputError:
        return False
    return True
