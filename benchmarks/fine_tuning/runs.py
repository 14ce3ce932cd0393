"""Fine-tune a model on the first geometries of one molecule, and measure it on others; both are done once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.evaluation.matrices import count_cycles, evaluate_phisnet
from ase_mlwave.models.training.checkpoint import checkpoint_path
from ase_mlwave.models.training.start import train
from benchmarks.common import bar, read_json, write_json

#: What is measured, as `evaluate_phisnet` calls it.
FIGURES = (
    "hamiltonian_mae_uHa",
    "occupied_energies_mae_uHa",
    "orbital_similarity_percent",
    "functional_energy_mae_meV",
    "functional_forces_mae_meV_per_A",
)
Figures = dict[str, float]


def fine_tuned(parts: Mapping[str, Dataset], n: int, model: str, settings: Path, folder: Path) -> tuple[Path, float]:
    """Train on ``n`` geometries with ``mlwave train``; return the new model and the CPU-minutes that it took.

    A run that was interrupted goes on; of one that is complete the model is returned.
    """
    output, data, clock = folder / f"{n}", folder / f"{n}.db", folder / f"{n}.json"
    if not (output / "model" / "config.json").is_file():
        if not checkpoint_path(str(output)).exists():
            data.unlink(missing_ok=True)
            records = (*parts["train"].records[:n], *parts["valid"].records)
            write_dataset(data, replace(parts["train"], records=records))
        words = [
            f"data={data}",
            f"output={output}",
            f"start_from={model}",
            f"cache={folder / 'integrals'}",
            "workers=1",
        ]
        before, start = read_json(clock, 0.0), time.process_time()
        try:
            train(settings, [*words, "workers=1"], resume=True)
        finally:
            write_json(clock, before + (time.process_time() - start) / 60)
    return output / "model", read_json(clock)


def measured(model: str | Path, test: Dataset, n_scf: int, *, cold: bool = False) -> Figures:
    """Measure a model on test geometries, and count SCF cycles of the first ``n_scf``; if ``cold``, PySCF's own too."""
    calculator = PhiSNetCalculator(model, outside="warn")
    with bar() as progress:

        def counter(what: str, total: int) -> Any:
            task = progress.add_task(what, total=total)
            return lambda done: progress.advance(task, done)

        found = evaluate_phisnet(calculator, test, levels=["functional"], cycles=False, progress=counter).figures
        guesses = ["minao"] if cold else []
        some = test.records[:n_scf]
        counts = count_cycles(calculator, some, guesses=guesses, progress=counter("SCF cycles", len(some)))
    cycles = {f"scf_cycles_{name}_mean": float(np.mean(one)) for name, one in counts.by_guess.items()}
    return {name: found[name] for name in FIGURES} | cycles
