"""Memory and time of training a PhiSNet on many molecules."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from ase.calculators.calculator import InputError

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.run import TrainingSettings, train
from ase_mlwave.quantum.basis import n_functions

#: Random displacements, Bohr; basis; molecules that are written at a time; steps; processes that read.
_DISPLACEMENT, _BASIS, _AT_A_TIME, _STEPS, _WORKERS = 0.05, "def2-svp", 500, 20, 2


def training(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure the first steps of training, with an empty cache of integrals and with a warm one."""
    if chosen.data is None:
        raise InputError("training needs --data, a file with geometries that read_dataset knows, such as an .npz")
    data, cache, found = chosen.output / f"{chosen.molecules}.db", chosen.output / "cache", {}
    if not data.exists():
        file = DatasetFile.create(data, f"pbe/{_BASIS}")
        records = molecules(chosen.data, chosen.molecules, chosen.seed)
        for part in iter(lambda: list(islice(records, _AT_A_TIME)), []):
            file.add(part)
    for name in ["warm cache"] if cache.exists() else ["empty cache", "warm cache"]:
        settings = TrainingSettings.model_validate(
            {
                "data": str(data),
                "output": str(chosen.output / f"run-{time.time():.0f}"),
                "model": {"elements": ["H", "C", "N", "O"], "basis": _BASIS, "features": 32, "n_modules": 2},
                "cache": str(cache),
                "workers": _WORKERS,
                "accelerator": "cpu",
            }
        )
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # its peak of memory is its own
            found[name] = fresh.submit(first_steps, settings, time.time()).result()
        found[name]["database, GB"] = data.stat().st_size / 1e9
        found[name]["cache, GB"] = sum(f.stat().st_size for f in cache.glob("*/*.safetensors")) / 1e9
    return found


def molecules(path: Path, number: int, seed: int) -> Iterator[Record]:
    """Displace the geometries of a file and make up their labels; one in fifty is for validation."""
    rng = np.random.default_rng(seed)
    geometries = read_dataset(path).records
    for index in range(number):
        record = geometries[index % len(geometries)]
        size = sum(n_functions(_BASIS, z) for z in record.numbers.tolist())
        matrix = rng.normal(scale=0.1, size=(size, size)) - np.diag(rng.uniform(0, 2, size))
        yield Record(
            numbers=record.numbers,
            positions=record.positions + rng.normal(scale=_DISPLACEMENT, size=record.positions.shape),
            energy=float(rng.normal()),
            matrices={"hamiltonian": matrix + matrix.T},
            info={"split": "train" if index % 50 else "valid"},
        )


def first_steps(settings: TrainingSettings, begun: float) -> dict[str, float]:
    """Train for some steps; times since ``begun`` and the peak of memory, of this process and those that it started."""
    marks: list[tuple[float, float]] = []
    step = PhiSNetModule.training_step

    def timed(module: PhiSNetModule, batch: Any, number: int) -> Any:
        marks.append((time.time() - begun, time.process_time()))
        if number == _STEPS:
            raise KeyboardInterrupt
        return step(module, batch, number)

    with mock.patch.object(PhiSNetModule, "training_step", timed), suppress(KeyboardInterrupt):
        train(settings, progress=False)
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "to the first step, s": marks[0][0],
        "CPU of this process to the first step, s": marks[0][1],
        "CPU of all processes, s": own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
        "peak memory, GB": own.ru_maxrss / 1e6,
        "peak memory of a worker, GB": others.ru_maxrss / 1e6,
    }
