"""Memory and time of training a PhiSNet on many molecules, with an empty cache of integrals and then with a warm one.

    python -m benchmarks.streaming chno5_geometries.npz --molecules 10000 --output runs/streaming

Geometries are those of a file, again and again, displaced at random. Hamiltonians and energies are made up, since
memory and time do not depend on what they say: no error of such a model means anything. Runs stop after some steps.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ase_mlwave.console import Console
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.run import TrainingSettings, train
from ase_mlwave.quantum.basis import n_functions
from benchmarks.common import command_line, figures_table, one_thread, positive, read_json, write_json

#: Random displacements, Bohr; molecules that are written at a time; basis.
_DISPLACEMENT, _WRITTEN, _BASIS = 0.05, 500, "def2-svp"


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


def write(path: Path, records: Iterator[Record]) -> None:
    """Write a database in parts, so that it never is in memory."""
    file = DatasetFile.create(path, f"pbe/{_BASIS}")
    while part := [record for _, record in zip(range(_WRITTEN), records, strict=False)]:
        file.add(part)


def run(settings: TrainingSettings, steps: int, begun: float) -> dict[str, float]:
    """Train for some steps; times since ``begun`` and the peak of memory, of this process and those that it started."""
    times, cpu = [], []
    step = PhiSNetModule.training_step

    def timed(module: PhiSNetModule, batch: Any, number: int) -> Any:
        times.append(time.time() - begun)
        cpu.append(time.process_time())
        if number == steps:
            raise KeyboardInterrupt
        return step(module, batch, number)

    with mock.patch.object(PhiSNetModule, "training_step", timed), suppress(KeyboardInterrupt):
        train(settings, progress=False)
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "to the first step, s": times[0],
        "CPU of this process to the first step, s": cpu[0],
        "CPU of all processes, s": own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
        "peak memory, GB": own.ru_maxrss / 1e6,
        "peak memory of a worker, GB": others.ru_maxrss / 1e6,
    }


def main() -> None:
    """Write the data where they are missing, and train, with an empty cache where there is none."""
    parser = command_line("streaming", __doc__, output=..., seed=..., workers=2)
    parser.add_argument("geometries", type=Path, help="file that read_dataset knows, such as an .npz")
    parser.add_argument("--molecules", type=positive(int), default=1000)
    parser.add_argument("--steps", type=positive(int), default=20)
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    data = chosen.output / f"{chosen.molecules}.db"
    if not data.exists():
        write(data, molecules(chosen.geometries, chosen.molecules, chosen.seed))
    results = read_json(chosen.output / "streaming.json", {})
    cache = chosen.output / "cache"
    for name in ["warm cache"] if cache.exists() else ["empty cache", "warm cache"]:
        settings = TrainingSettings.model_validate(
            {
                "data": str(data),
                "output": str(chosen.output / f"{chosen.molecules}-{name.split()[0]}-{time.time():.0f}"),
                "model": {"elements": ["H", "C", "N", "O"], "basis": _BASIS, "features": 32, "n_modules": 2},
                "cache": str(cache),
                "workers": chosen.workers,
                "accelerator": "cpu",
            }
        )
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            found = fresh.submit(run, settings, chosen.steps, time.time()).result()
        found["database, GB"] = data.stat().st_size / 1e9
        found["cache, GB"] = sum(f.stat().st_size for f in cache.glob("*/*.safetensors")) / 1e9
        results[f"{chosen.molecules}, {name}"] = found
        write_json(chosen.output / "streaming.json", results)
    Console().print(figures_table(results))


if __name__ == "__main__":
    with one_thread():
        main()
