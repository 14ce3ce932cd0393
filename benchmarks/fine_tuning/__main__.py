"""Measure a general PhiSNet on single molecules, as it is and fine-tuned on a few of their geometries.

    python -m benchmarks.fine_tuning --molecules ethanol=train.npz,test.npz mine=geometries.xyz
        [--model phisnet-chno] [--geometries 25 100 500] [--test 25] [--output runs/fine_tuning]

Each molecule comes from files that mlwave reads. Their splits are kept, and what they lack is drawn at random.
Geometries without a Kohn-Sham matrix are labelled first. Labels, runs and figures are kept: a second call goes on, and
with more molecules or geometries it does what is new. Nothing is chosen by the test geometries.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase.calculators.calculator import InputError

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.console import Console
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.folder import read_config
from ase_mlwave.reference.levels import LevelOfTheory, PyscfLevel
from benchmarks import common
from benchmarks.common import existing, positive
from benchmarks.fine_tuning.molecules import labelled, read_molecule
from benchmarks.fine_tuning.report import draw, rows
from benchmarks.fine_tuning.runs import fine_tuned, measured

SETTINGS = Path("examples/phisnet-own/fine_tune.yaml")


def molecule(text: str) -> tuple[str, list[Path]]:
    """Read ``NAME=FILE,FILE``."""
    name, _, files = text.partition("=")
    if not (name.isidentifier() and files):
        raise argparse.ArgumentTypeError(f"it was {text}, write NAME=FILE or NAME=FILE,FILE")
    return name, [existing(file) for file in files.split(",")]


def study(name: str, files: Sequence[Path], chosen: argparse.Namespace, tag: str) -> None:
    """Label, train and measure what is missing of one molecule."""
    folder = chosen.output / name / tag
    level = LevelOfTheory.parse(read_config(chosen.model).settings["level"])
    if not isinstance(level, PyscfLevel):
        raise InputError(f"{chosen.model} was trained at {level.name!r}, which PySCF does not compute")
    largest = max(chosen.geometries, default=0)
    numbers = {"test": chosen.test, "valid": chosen.valid if largest else 0, "train": largest}
    guess = PhiSNetCalculator(chosen.model, outside="warn")
    geometries = read_molecule(files, numbers, chosen.seed)
    parts = labelled(geometries, chosen.output / name / "labels.db", level, guess, chosen.workers)
    known = len(parts["train"].records) if parts["valid"].records else 0
    if known < largest:
        Console(stderr=True).print(
            f"{name}: {known} geometries to learn from, {largest} were asked for", style="yellow"
        )
    for n in (0, *(n for n in sorted(chosen.geometries) if n <= known)):
        path = folder / f"errors_{n}_{len(parts['test'])}.json"
        if path.is_file():
            continue
        model, minutes = fine_tuned(parts, n, chosen.model, chosen.settings, folder) if n else (chosen.model, 0.0)
        figures = measured(model, parts["test"], chosen.scf, cold=n == 0)
        common.write_json(path, {"geometries": n, "test": len(parts["test"]), "cpu_minutes": minutes, **figures})


def options() -> argparse.ArgumentParser:
    """Say what may be chosen."""
    parser = common.command_line("fine_tuning", __doc__, output=Path("runs/fine_tuning"), seed=..., workers=...)
    add = parser.add_argument
    add("--molecules", type=molecule, nargs="+", required=True, metavar="NAME=FILE[,FILE]")
    add("--model", default="phisnet-chno", help="general model, a name or a folder")
    add("--settings", type=existing, default=SETTINGS, help="of mlwave train")
    add("--geometries", type=int, nargs="*", default=[25, 100, 500], help="to learn from; none: the model as it is")
    add("--valid", type=positive(int), default=10, help="validation geometries")
    add("--test", type=positive(int), default=25, help="test geometries")
    add("--scf", type=positive(int), default=10, help="of them, whose SCF cycles are counted")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing; print and write the table, draw the picture."""
    chosen, console = options().parse_args(words), Console()
    with common.one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)  # what the general model does not know is measured too
        what = read_config(chosen.model).weights_sha256 + chosen.settings.read_text(encoding="utf-8")
        tag = hashlib.sha256(what.encode()).hexdigest()[:8]
        for name, files in chosen.molecules:
            console.print(f"{name} ...", style="dim")
            study(name, files, chosen, tag)
    results: dict[str, list[Any]] = {}
    for path in sorted(chosen.output.glob(f"*/{tag}/errors_*.json")):  # those of earlier calls too
        results.setdefault(path.parts[-3], []).append(common.read_json(path))
    for found in results.values():
        found.sort(key=lambda one: (one["test"], one["geometries"]))
    cells = rows(results)
    console.print(common.rich_table(cells, f"{chosen.model} on single molecules"))
    (chosen.output / "fine_tuning.md").write_text(common.markdown_table(cells) + "\n", encoding="utf-8")
    common.write_json(chosen.output / "fine_tuning.json", results)
    draw(results, chosen.output / "fine_tuning.png")


if __name__ == "__main__":
    main()
