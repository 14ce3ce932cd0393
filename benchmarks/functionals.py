"""Compare energy functionals of quantum deep fields: local, with gradients, without the Hohenberg-Kohn term.

    python -m benchmarks.functionals chno.db --output functionals

Trains each on the same molecules of the split ``train``, drawn at random, and measures it on the split ``valid``, which
chooses the penalty of the readout but nothing else. Sizes and settings are in ``functionals.yaml``. A model that is
in the output folder is not trained again. Writes functionals.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from scipy.spatial.transform import Rotation

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.evaluation.energies import evaluate
from ase_mlwave.models.qdf.training.run import train
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.yaml_settings import parse_settings
from benchmarks.common import (
    command_line,
    cpu_seconds,
    existing,
    markdown_table,
    one_thread,
    read_json,
    rich_table,
    write_json,
)

#: Molecules that are turned, and how often.
_TURNED, _TURNS = 10, 12
#: Figure -> heading.
FIGURES = {
    "energy_mae_meV_per_atom": "energy, meV/atom",
    "energy_median_meV": "median energy, meV",
    "forces_mae_meV_per_A": "forces, meV/A",
    "spread_meV": "spread over orientations, meV",
    "seconds": "CPU-seconds",
}


def subset(data: Dataset, n: int, seed: int) -> Dataset:
    """Take ``n`` training molecules with forces at random, and all that validate."""
    pool = [record for record in data.split("train") if record.forces is not None]
    if n > len(pool):
        raise InputError(f"there are {len(pool)} training molecules with forces, {n} were asked for")
    order = np.random.default_rng(seed).permutation(len(pool))[:n]
    return replace(data, records=(*(pool[i] for i in order), *data.split("valid")))


def measured(own: Mapping[str, Any], file: Path, data: Dataset, folder: Path, seed: int) -> dict[str, float]:
    """Train a model, unless it is there, and measure it on molecules of the split ``valid``."""
    kept, valid = folder / "figures.json", data.split("valid")
    if kept.is_file():
        figures: dict[str, float] = read_json(kept)
        return figures
    elements = sorted({chemical_symbols[z] for record in data for z in record.numbers.tolist()})
    paths = {"data": str(file), "output": str(folder), "accelerator": "cpu", "batch_size": 4, "seed": seed}
    paths |= {"steps_per_epoch": own["steps"], "grid_level": own["model"]["grid_level"]}
    model = {**own["model"], "elements": elements, "level": data.level}
    settings = parse_settings(TrainingSettings, {**paths, **own, "model": model})
    path, seconds = cpu_seconds(lambda: train(settings, progress=False))
    calculator = QDFCalculator(path, device="cpu", dtype="float32", outside="warn")
    figures = {**evaluate(calculator, valid).figures, "seconds": seconds, "spread_meV": spread(calculator, valid, seed)}
    write_json(kept, {name: figures[name] for name in FIGURES})
    return figures


def spread(calculator: QDFCalculator, data: Dataset, seed: int) -> float:
    """Turn some molecules, evenly from the first to the last; return the mean standard deviation of energies, meV."""
    turns = Rotation.random(_TURNS, rng=seed).as_matrix()
    places = np.linspace(0, len(data) - 1, min(_TURNED, len(data))).astype(int)
    return float(np.mean([1e3 * np.std(_energies(calculator, data[i], turns)) for i in places]))


def _energies(calculator: QDFCalculator, record: Record, turns: np.ndarray) -> list[float]:
    turned = [atoms_from_record(replace(record, positions=record.positions @ turn.T)) for turn in turns]
    return [float(result["energy"]) for result in calculator.predict(turned, ["energy"])]


def main(words: Sequence[str] | None = None) -> None:
    """Train all models; print and write the table."""
    parser = command_line("functionals", __doc__, output=..., seed=...)
    parser.add_argument("data", type=existing, help="file that mlwave reads, with splits, energies and forces")
    file = Path(__file__).with_suffix(".yaml")
    parser.add_argument("--settings", type=existing, default=file, help="in place of functionals.yaml")
    chosen, console = parser.parse_args(words), Console()
    settings = yaml.safe_load(chosen.settings.read_text(encoding="utf-8"))
    chosen.output.mkdir(parents=True, exist_ok=True)
    cells = [["functional", *FIGURES.values()]]
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        data = subset(read_dataset(chosen.data), settings["train"], chosen.seed)
        copy = chosen.output / "molecules.db"
        if not copy.is_file():
            write_dataset(copy, data)
        for name, own in settings["models"].items():
            console.print(f"{name} ...", style="dim")
            folder = chosen.output / name.replace(",", "").replace(" ", "-")
            figures = measured(own, copy, data, folder, chosen.seed)
            cells.append([name, *(f"{figures[figure]:.3g}" for figure in FIGURES)])
    title = f"{settings['train']} training molecules; {len(data.split('valid'))} of other sum formulas, mean absolute"
    console.print(rich_table(cells, title))
    (chosen.output / "functionals.md").write_text(f"{title} errors.\n\n{markdown_table(cells)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
