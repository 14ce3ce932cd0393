"""Divide molecules by size: small ones to learn from and to test on, larger ones to extrapolate to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_mlwave.data.record import Dataset, Record

Array = NDArray[np.float64]

#: Share of the small molecules that are held out, to measure the error where nothing is extrapolated.
_HELD_OUT = 0.1
#: Share of the small molecules that are validated on (for the learning curve alone), and how many at most.
_VALIDATED, _MOST_VALIDATED = 0.05, 32
#: Size up to which the published claim has models learn, in atoms.
_PUBLISHED_BOUND = 14


@dataclass(frozen=True)
class SizeSplit:
    """Molecules by what they are for."""

    name: str  # of the data set
    level: str  # level of theory
    bound: int  # largest number of atoms in ``train``, ``valid`` and ``test``
    train: tuple[Record, ...]  # small molecules to learn from
    valid: tuple[Record, ...]  # small molecules for the learning curve
    test: tuple[Record, ...]  # small molecules that are held out
    large: tuple[Record, ...]  # molecules with more atoms, by rising size
    left_out: int
    """Molecules of ``test`` and ``large`` that were dropped, because they have an element that ``train`` lacks."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, by atomic number."""
        return tuple(chemical_symbols[z] for z in sorted(_elements(self.train)))

    def dataset(self) -> Dataset:
        """Join training and validation molecules, with the name of their split, for ``mlwave train``."""
        parts = {"train": self.train, "valid": self.valid}
        records = tuple(record.with_info(split=name) for name, part in parts.items() for record in part)
        return Dataset(records=records, level=self.level, source=self.name)

    def hashes(self) -> dict[str, str]:
        """Return a hash of the content of every part: what a result depends on."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test, "large": self.large}
        return {name: Dataset(part, self.level, name).content_hash() for name, part in parts.items()}


def default_bound(sizes: Iterable[int]) -> int:
    """Choose the largest size to learn from: 14, as published; two atoms less than the largest where none is larger."""
    largest = max(sizes)
    return _PUBLISHED_BOUND if largest > _PUBLISHED_BOUND else largest - 2


def divide(
    dataset: Dataset,
    bound: int | None = None,
    *,
    seed: int = 0,
    n_train: int | None = None,
    n_per_size: int | None = None,
) -> SizeSplit:
    """Divide molecules by size, and the small ones at random; what appears twice counts once.

    Parameters
    ----------
    dataset : Dataset
        Neutral closed shells with energies; others are refused (``ValueError``).
    bound : int, optional
        Largest number of atoms to learn from; see `default_bound`.
    seed : int
        Of the shuffle.
    n_train : int, optional
        Number of molecules to learn from, all that are left by default. The other parts do not depend on it.
    n_per_size : int, optional
        Number of larger molecules of each size that are tested on, all by default.
    """
    unlabelled = sum(record.energy is None for record in dataset)
    if unlabelled:
        raise ValueError(
            f"{dataset.source} has {unlabelled} molecules without an energy; this benchmark needs them all."
        )
    open_shell = [r.formula for r in dataset if r.charge or r.spin or r.numbers.sum() % 2]
    if open_shell:
        raise ValueError(
            f"{dataset.source} has {len(open_shell)} molecules with a charge or unpaired electrons, such as "
            f"{open_shell[0]}; the models are for neutral closed shells. Remove them."
        )
    generator = np.random.default_rng(seed)
    records = list({record.geometry_hash(): record for record in dataset}.values())
    records = [records[i] for i in generator.permutation(len(records))]
    sizes = [len(record) for record in records]
    bound = default_bound(sizes) if bound is None else bound
    small = [record for record in records if len(record) <= bound]
    n_test, n_valid = int(_HELD_OUT * len(small)), min(_MOST_VALIDATED, int(_VALIDATED * len(small)))
    available = len(small) - n_test - n_valid
    if not n_test or not n_valid or max(sizes) <= bound or (n_train or 1) > available:
        raise ValueError(
            f"{dataset.source} has molecules of {min(sizes)} to {max(sizes)} atoms: {len(small)} of at most {bound} "
            f"({max(available, 0)} left to learn from) and {len(records) - len(small)} larger ones. Needed are "
            f"{n_train or 'some'} to learn from, and larger ones: change --bound or --molecules."
        )
    train = tuple(small[n_test + n_valid :][:n_train])
    large = [
        r for size in range(bound + 1, max(sizes) + 1) for r in [r for r in records if len(r) == size][:n_per_size]
    ]
    rest = {"valid": small[n_test : n_test + n_valid], "test": small[:n_test], "large": large}
    known = _elements(train)
    kept = {name: tuple(r for r in part if set(r.numbers.tolist()) <= known) for name, part in rest.items()}
    empty = [name for name, part in kept.items() if not part]
    if empty:
        raise ValueError(f"the {len(train)} training molecules have other elements than all of {', '.join(empty)}.")
    left_out = sum(len(rest[name]) - len(kept[name]) for name in ("test", "large"))
    return SizeSplit(Path(dataset.source).stem, dataset.level, bound, train, left_out=left_out, **kept)


def composition(records: Sequence[Record], numbers: Sequence[int]) -> Array:
    """Count the atoms of every element, (B, n_elements)."""
    return np.array([[np.count_nonzero(r.numbers == z) for z in numbers] for r in records], dtype=np.float64)


def energies(records: Sequence[Record]) -> Array:
    """Return the labels (B,), Hartree."""
    return np.array([record.energy for record in records], dtype=np.float64)


def atom_references(records: Sequence[Record], numbers: Sequence[int]) -> Array:
    """Fit energies by a sum over atoms, (n_elements,), Hartree: what ``mlwave train`` subtracts by default."""
    return np.asarray(np.linalg.lstsq(composition(records, numbers), energies(records), rcond=None)[0])


def _elements(records: Iterable[Record]) -> set[int]:
    return {z for record in records for z in record.numbers.tolist()}
