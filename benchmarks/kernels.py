"""Kernels that learn energies of one molecule from geometries, and cheaper energies beneath them, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from benchmarks.common import read_json, write_json

__all__ = ["Energies", "Level", "kept", "kernel"]

Energies = NDArray[np.float64]
#: Energies (B,) of records, Hartree.
Level = Callable[[Sequence[Record]], Energies]
#: Energies that are written at a time.
_CHUNK = 20
#: Geometries that are predicted at a time.
_BATCH = 50


def kept(path: Path, level: Level) -> Level:
    """Keep what a level computes in a file, and compute what is not there, some at a time."""
    known: dict[str, float] = read_json(path, {})

    def energies(records: Sequence[Record]) -> Energies:
        missing = [record for record in records if record.geometry_hash() not in known]
        for start in range(0, len(missing), _CHUNK):
            some = missing[start : start + _CHUNK]
            known.update(zip([one.geometry_hash() for one in some], level(some).tolist(), strict=True))
            write_json(path, known)
        return np.array([known[record.geometry_hash()] for record in records])

    return energies


def kernel(training: Sequence[Record], queries: Sequence[Record], level: str = "ccsd(t)/cbs") -> Energies:
    """Fit the kernel of `AmonsCalculator` to energies of one molecule, and predict (B,), Hartree."""
    symbols = tuple(sorted(set(atoms_from_record(training[0]).symbols)))
    free = dict.fromkeys(training[0].numbers.tolist(), 0.0)
    fit = fit_amons(training, level, representation=SlatmConfig.for_forces(symbols), free_atoms=free)
    parts = [queries[start : start + _BATCH] for start in range(0, len(queries), _BATCH)]
    return np.array([one.energy for part in parts for one in predict_batch(fit.model, part, forces=False)])
