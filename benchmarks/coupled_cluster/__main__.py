"""Measure what a PhiSNet of Hartree-Fock theory learns from a few energies and forces of coupled cluster.

    python -m benchmarks.coupled_cluster [--points 10 25 50 100 200 500] [--test 200] [--output runs/coupled_cluster]

First a network learns Fock matrices of water. From it, and beside it from nothing, networks learn energies and forces
of CCSD(T) of a few geometries; kernels learn the same, or what coupled cluster adds to Hartree-Fock theory. All are
measured on test geometries. Then: dipoles, orbital energies and densities, which nobody told the networks, and harmonic
frequencies. Runs and figures are kept: a second call goes on, and with more points or learners it does what is new.
Nothing is chosen by the test geometries.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase_mlwave.console import Console
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.training.start import train
from ase_mlwave.reference.levels import LevelOfTheory
from benchmarks import common, references
from benchmarks.common import existing, positive
from benchmarks.coupled_cluster.learners import LEARNERS, Task, errors, network_predictions
from benchmarks.coupled_cluster.report import draw, learning_rows, property_rows, vibration_rows
from benchmarks.coupled_cluster.vibrations import vibrations
from benchmarks.coupled_cluster.wavefunctions import properties

_EXAMPLES = Path("examples/phisnet-water-ccsdt")
#: Learners whose wavefunctions are looked at.
_NETWORKS = ("wavefunction", "wavefunction and density", "wavefunction and atoms", "from scratch")


def first_model(chosen: argparse.Namespace) -> Path:
    """Train the model of Hartree-Fock theory, or return the one that is given or that there is."""
    if chosen.start is not None:
        return chosen.start
    output = chosen.output / "hartree_fock"
    if not (output / "model" / "config.json").is_file():
        words = [f"data={chosen.low}", f"output={output}", "workers=1", *chosen.set_low]
        train(_EXAMPLES / "hartree_fock.yaml", words, resume=True)
    return output / "model"


def task_of(chosen: argparse.Namespace) -> Task:
    """Read labels, and compute those of Hartree-Fock theory at test geometries."""
    high, low = read_dataset(chosen.high), read_dataset(chosen.low)
    wanted = {"train": max(chosen.points), "valid": chosen.valid, "test": chosen.test}
    parts = {}
    for split, n in wanted.items():
        part = high.split(split)
        parts[split] = replace(part, records=part.records[:n])
    known = {record.geometry_hash(): record for record in low}
    level = LevelOfTheory.parse(low.level)
    cheap = {}
    for split in ("train", "test"):
        missing = [record for record in parts[split] if record.geometry_hash() not in known]
        made = references.label(missing, chosen.output / f"low_{split}.db", level) if missing else []
        known |= {record.geometry_hash(): record for record in made if record is not None}
        cheap[split] = Dataset(tuple(known[record.geometry_hash()] for record in parts[split]), low.level, split)
    return Task(parts, cheap, first_model(chosen), chosen.low, chosen.settings, tuple(chosen.set))


def learning(task: Task, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Train and measure what is missing; return what there is, that of earlier calls too."""
    console, pattern = Console(stderr=True), f"*.{len(task.parts['test'])}.json"
    for name in chosen.learners:
        for n in sorted(chosen.points):
            folder = chosen.output / name.replace(" ", "_") / f"{n}"
            path = folder.with_suffix(f".{len(task.parts['test'])}.json")
            if not path.is_file():
                console.print(f"{name}, {n} geometries ...", style="dim")
                predictions, minutes = LEARNERS[name](task, n, folder)
                found = errors(predictions, task.parts["test"].records)
                common.write_json(path, {"learner": name, "points": n, "cpu_minutes": minutes, **found})
    results = [common.read_json(path) for path in chosen.output.glob(f"*/{pattern}")]
    return sorted(results, key=lambda one: (list(LEARNERS).index(one["learner"]), one["points"]))


def options() -> argparse.ArgumentParser:
    """Say what may be chosen."""
    parser = common.command_line("coupled_cluster", __doc__, output=Path("runs/coupled_cluster"))
    add = parser.add_argument
    add("--high", type=existing, default=Path("datasets/water_ccsdt_ccpvdz.npz"), help="labels of coupled cluster")
    add("--low", type=existing, default=Path("datasets/water_hf_ccpvdz.npz"), help="matrices of Hartree-Fock theory")
    add("--start", type=Path, help="model of Hartree-Fock theory, if not to be trained")
    add("--settings", type=existing, default=_EXAMPLES / "coupled_cluster.yaml", help="of the training of networks")
    add("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other settings for them")
    add("--set-low", nargs="*", default=[], metavar="KEY=VALUE", help="other settings for the first model")
    add("--points", type=positive(int), nargs="+", default=[10, 25, 50, 100, 200, 500], help="to learn from")
    add("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS), metavar="LEARNER")
    add("--valid", type=positive(int), default=10, help="validation geometries of networks")
    add("--test", type=positive(int), default=200, help="test geometries")
    add("--wavefunctions", type=int, default=50, help="of them, whose wavefunctions are looked at; 0: none")
    add("--models", nargs="*", default=["phisnet-water-ccsdt"], help="others to measure beside them")
    add("--no-vibrations", action="store_true", help="leave out harmonic frequencies")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing; print and write tables, draw the picture."""
    chosen, console = options().parse_args(words), Console()
    chosen.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    tables = {}
    with common.one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        warnings.filterwarnings("ignore", message="energy='wavefunction' is not what")  # that is what is measured
        task = task_of(chosen)
        low = errors(
            ([r.energy for r in task.low["test"]], [r.forces for r in task.low["test"]]), task.parts["test"].records
        )
        results["hf"] = low
        results["learning"] = learning(task, chosen)
        start = errors(network_predictions(task.start, task.parts["test"].records), task.low["test"].records)
        results["start"] = start
        results["models"] = {
            name: errors(network_predictions(name, task.parts["test"].records), task.parts["test"].records)
            for name in chosen.models
        }
        tables["learning"] = learning_rows(results["learning"], results["models"])
        models: dict[str, Path | str] = {"HF": task.start} | {
            name: chosen.output / name.replace(" ", "_") / f"{max(chosen.points)}" / "model"
            for name in chosen.learners
            if name in _NETWORKS
        }
        models |= {name: name for name in chosen.models}
        if chosen.wavefunctions:
            some = task.parts["test"].records[: chosen.wavefunctions]
            results["wavefunctions"] = properties(models, some, chosen.output)
            tables["wavefunctions"] = property_rows(results["wavefunctions"])
        if not chosen.no_vibrations:
            results["vibrations"] = vibrations(models, chosen.output)
            tables["vibrations"] = vibration_rows(results["vibrations"])
    for title, cells in tables.items():
        console.print(common.rich_table(cells, title))
        (chosen.output / f"{title}.md").write_text(common.markdown_table(cells) + "\n", encoding="utf-8")
    common.write_json(chosen.output / "coupled_cluster.json", results)
    draw(results["learning"], chosen.output / "coupled_cluster.png")


if __name__ == "__main__":
    main()
