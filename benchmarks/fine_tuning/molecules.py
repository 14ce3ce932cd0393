"""Geometries of one molecule, divided, and their labels by an SCF that a model starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError, SCFError

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.duplicates import equal_geometries
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.functional import converge
from ase_mlwave.reference.levels import LevelOfTheory, PyscfLevel
from benchmarks import references

#: The splits, in the order in which labels are made.
SPLITS = ("test", "valid", "train")


class WarmStarted(LevelOfTheory):
    """A level of PySCF whose SCF starts from a model's density, with forces of test geometries alone.

    The same labels as the level's own to its convergence (``test_labels_are_those_of_the_level``), in half the time.
    """

    def __init__(self, level: PyscfLevel, calculator: PhiSNetCalculator) -> None:
        self.level, self.calculator = level, calculator

    @property
    def name(self) -> str:
        """As quantum chemists write it."""
        return self.level.name

    def settings(self) -> dict[str, Any]:
        """Return what decides the numbers, which is not where the SCF starts."""
        return self.level.settings()

    def label(self, molecule: Any) -> Record:
        """Converge from the model's density, or as the level does where that fails."""
        record = molecule if isinstance(molecule, Record) else record_from_atoms(molecule)
        mole = build_mole(record.numbers, record.positions, self.level.basis, record.charge, record.spin)
        mean_field = self.level.mean_field(mole)
        try:
            found = converge(
                mean_field,
                self.calculator.initial_guess(mean_field, fallback="minao"),
                forces=record.info.get("split") == "test",
            )
        except SCFError:
            return self.level.label(record)
        fock = np.asarray(mean_field.get_fock(dm=found.density))
        matrices = {"hamiltonian": (fock + fock.T) / 2}
        return replace(record, energy=found.energy, forces=found.forces, matrices=matrices)


def read_molecule(paths: Sequence[Path], numbers: dict[str, int], seed: int = 0) -> dict[str, list[Record]]:
    """Read geometries of one molecule and take ``numbers`` of each split, or what there is, in the order of `SPLITS`.

    What the files call a split is kept; a split that they lack is drawn at random from ``train``, or from geometries
    without a split. Copies count once, as they come first.
    """
    records = [record for path in paths for record in read_dataset(path)]
    first = np.unique(equal_geometries(records), return_index=True)[1]
    known = [records[i] for i in np.sort(first)]
    formulas = sorted({record.formula for record in known})
    if len(formulas) != 1:
        raise InputError(f"{paths[0]} must hold one molecule, has {', '.join(formulas)}")
    pools: dict[str, list[Record]] = {}
    for record in known:
        pools.setdefault(str(record.info.get("split", "train")), []).append(record)
    rest = pools.get("train", [])
    if not set(SPLITS) <= pools.keys():
        rest = [rest[i] for i in np.random.default_rng(seed).permutation(len(rest))]
    parts = {}
    for split in SPLITS:
        pool, n = pools.get(split, rest[::-1]) if split != "train" else rest, numbers[split]
        parts[split] = [record.with_info(split=split) for record in pool[:n]]
        if split not in pools:  # drawn from the end, so that training geometries stay the same
            rest = rest[: len(rest) - n]
    return parts


def labelled(
    parts: dict[str, list[Record]], database: Path, level: PyscfLevel, calculator: PhiSNetCalculator, n_workers: int = 1
) -> dict[str, Dataset]:
    """Label what has no matrix yet (of test geometries: or no forces); the database keeps it for a second call."""
    missing = [
        record
        for split, some in parts.items()
        for record in some
        if "hamiltonian" not in record.matrices or (split == "test" and record.forces is None)
    ]
    database.parent.mkdir(parents=True, exist_ok=True)
    made = (
        references.label(missing, database, WarmStarted(level, calculator), n_workers, matrices=True) if missing else []
    )
    found = {id(record): one for record, one in zip(missing, made, strict=True) if one is not None}
    return {
        split: Dataset(tuple(found.get(id(record), record) for record in some), level.name, f"{database.stem} {split}")
        for split, some in parts.items()
    }
