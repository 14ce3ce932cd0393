"""What is learned from and tested on: small molecules, larger ones, and conformers of drug-like ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Dataset, Record
from benchmarks.common import KCAL_PER_MOL
from benchmarks.conformer_set import read_conformers
from benchmarks.conformers import REFERENCE, chosen_molecules

__all__ = ["Array", "Parts", "conformers_of", "divide", "divide_by_split", "energies", "parts_of"]

Array = NDArray[np.float64]
#: Name of a part -> its molecules.
Parts = dict[str, list[Record]]


def parts_of(data: Dataset, molecules: Mapping[str, Any], conformers: Path | None) -> Parts:
    """Divide molecules as the settings say, and keep energies alone; a file of conformers is one more part."""
    chosen = dict(molecules)
    limits = chosen.pop("conformers", None)
    parts = (divide_by_split if chosen.pop("by_split", False) else divide)(data, **chosen)
    if conformers is not None:
        if limits is None:
            raise InputError("the settings do not say which conformers to take: molecules: {conformers: {...}}")
        if data.level != REFERENCE:
            raise InputError(f"{data.source} has energies at {data.level}, conformers have them at {REFERENCE}")
        parts["conformers"] = conformers_of(conformers, **limits)
    parts = {name: [replace(r.unlabelled(), energy=r.energy) for r in part] for name, part in parts.items()}
    return _of_known_elements(parts)


def divide(data: Dataset, bound: int, n_train: int, n_per_size: int, seed: int = 0) -> Parts:
    """Divide molecules by size, and those of at most ``bound`` atoms at random; what appears twice counts once.

    Returns ``train``, ``valid`` (for the learning curve), ``test`` (a tenth, held out) and ``large``, by rising size;
    molecules with elements that ``train`` lacks are left out. The other parts do not depend on ``n_train``.
    """
    shuffled = _shuffled(data, seed)
    small = [record for record in shuffled if len(record) <= bound]
    n_test, n_valid = len(small) // 10, min(32, len(small) // 20)
    parts = {"train": small[n_test + n_valid :][:n_train], "valid": small[n_test : n_test + n_valid]}
    parts |= {"test": small[:n_test], "large": _larger(shuffled, bound, n_per_size)}
    return _enough(_of_known_elements(parts), data, bound, n_train)


def divide_by_split(data: Dataset, bound: int, n_train: int, n_per_size: int, seed: int = 0) -> Parts:
    """Divide molecules by size, and those of at most ``bound`` atoms as their own splits say.

    For several geometries of one molecule, which are in one split: drawn at random, geometries of a test molecule would
    be learned. ``large`` is drawn from all splits, for none of a larger molecule is learned.
    """
    shuffled = _shuffled(data, seed)
    small = [record for record in shuffled if len(record) <= bound]
    parts = {name: [r for r in small if r.info.get("split") == name] for name in ("train", "valid", "test")}
    parts |= {"train": parts["train"][:n_train], "large": _larger(shuffled, bound, n_per_size)}
    return _enough(_of_known_elements(parts), data, bound, n_train)


def conformers_of(path: Path, atoms: tuple[int, int], each: int) -> list[Record]:
    """Read conformers of the molecules of so many atoms, both ends included, ``each`` of one, spread evenly.

    Molecules with one conformer are left out. Energies are those of PBE/def2-SVP; ``info["molecule"]`` is the name.
    """
    low, high = atoms
    some = [one for one in read_conformers(path) if low <= one.n_atoms <= high]
    found = []
    for one in chosen_molecules(some, argparse.Namespace(random=False, molecules=len(some), conformers=each)):
        labels = one.energies[REFERENCE] / KCAL_PER_MOL
        pairs = zip(one.structures, labels, strict=True)
        found += [replace(record_from_atoms(a, molecule=one.name), energy=float(e)) for a, e in pairs]
    if not found:
        raise InputError(f"{path} has no molecule of {low} to {high} atoms with two conformers")
    return found


def energies(records: Sequence[Record]) -> Array:
    """Return the labels (B,), Hartree."""
    return np.array([record.energy for record in records], dtype=np.float64)


def _shuffled(data: Dataset, seed: int) -> list[Record]:
    """Put different molecules into a random order."""
    different = list({record.geometry_hash(): record for record in data}.values())
    return [different[i] for i in np.random.default_rng(seed).permutation(len(different))]


def _larger(shuffled: Sequence[Record], bound: int, n_per_size: int) -> list[Record]:
    """Take the first of each larger size, by rising size."""
    sizes = sorted({len(record) for record in shuffled if len(record) > bound})
    return [record for n in sizes for record in [r for r in shuffled if len(r) == n][:n_per_size]]


def _of_known_elements(parts: Mapping[str, Sequence[Record]]) -> Parts:
    """Leave out molecules with elements that nothing in ``train`` has."""
    known = {z for record in parts["train"] for z in record.numbers.tolist()}
    return {name: [r for r in part if set(r.numbers.tolist()) <= known] for name, part in parts.items()}


def _enough(parts: Parts, data: Dataset, bound: int, n_train: int) -> Parts:
    """Refuse a file with too few molecules."""
    if len(parts["train"]) < n_train or not all(parts.values()):
        found = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise InputError(f"{data.source} has too few molecules below or above {bound} atoms for {n_train}: {found}")
    return parts
