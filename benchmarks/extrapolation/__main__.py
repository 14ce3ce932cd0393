"""Train on small molecules, test on larger ones: quantum deep fields beside SchNet, at the same CPU time.

    python -m benchmarks.extrapolation qm7.npz qm9_under14.npz --output FOLDER --budget 3600

Every data set is divided by size: models learn from molecules of at most --bound atoms (14; where none is larger, two
less than the largest), a tenth of which is held out, and are tested on those and on all larger ones. All models have
the same atoms' energies subtracted (a least-squares fit to the training molecules: the part of an energy that grows
with the molecule, which no model should have to find) and learn for the same number of CPU-seconds on one thread.
A model whose result is in the output folder is not trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ase.calculators.calculator import InputError

from ase_mlwave.console import Console
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.training.yaml_settings import read_yaml
from benchmarks.common import command_line, one_thread, positive, rich_table
from benchmarks.extrapolation.models import MODELS, TITLES, Job, check_models, check_settings
from benchmarks.extrapolation.report import Study, draw, markdown, obtain, rows, title
from benchmarks.extrapolation.split import SizeSplit, divide


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line("extrapolation", __doc__, output=..., seed=...)
    energies = "files that mlwave reads, with energies; forces are not used"
    parser.add_argument("data", type=Path, nargs="+", help=energies)
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--budget", type=positive(float), default=3600.0, help="CPU-seconds of training for each model")
    parser.add_argument("--bound", type=positive(int), help="largest number of atoms to learn from")
    parser.add_argument("--molecules", type=positive(int), help="number of molecules to learn from (default: all)")
    parser.add_argument(
        "--per-size", type=positive(int), help="larger molecules of each size to test on (default: all)"
    )
    parser.add_argument("--qdf-settings", type=Path, help="YAML file as mlwave train's: model, loss, optimiser, ...")
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="show no progress bars")
    return parser.parse_args(words)


def prepare(chosen: argparse.Namespace) -> tuple[list[SizeSplit], dict[str, object]]:
    """Check everything and divide the data, before any model is trained; return splits and QDF's settings."""
    check_models(chosen.models)
    stems = [path.stem for path in chosen.data]
    if len(set(stems)) < len(stems):
        raise InputError(f"data files need different names, since results are kept by name: {', '.join(stems)}")
    settings = {} if chosen.qdf_settings is None else read_yaml(chosen.qdf_settings)
    check_settings(settings)
    how = {"seed": chosen.seed, "n_train": chosen.molecules, "n_per_size": chosen.per_size}
    return [divide(read_dataset(path), chosen.bound, **how) for path in chosen.data], settings


def main(words: Sequence[str] | None = None) -> None:
    """Train what is missing; write extrapolation.md and .png; print the tables."""
    chosen, console = options(words), Console()
    studies: list[Study] = []
    with one_thread():
        splits, settings = prepare(chosen)
        for split in splits:
            results = []
            for model in dict.fromkeys(chosen.models):
                place = chosen.output / split.name / model
                console.print(f"{split.name}: {TITLES[model]} ...", style="dim")
                job = Job(split, chosen.budget, chosen.seed, place, settings, chosen.progress)
                result, was_there = obtain(model, job, place / "result.json")
                console.print(f"{'read from' if was_there else 'written to'} {place / 'result.json'}", style="dim")
                results.append(result)
            studies.append((split, results))
            console.print(rich_table(rows(studies[-1]), f"{title(split)}; mean absolute error, kcal/mol"))
            if split.left_out:
                console.print(f"{split.left_out} molecules with elements that were not learned are left out")
    base = chosen.output / "extrapolation"
    base.with_suffix(".md").write_text(markdown(studies), encoding="utf-8")
    draw(studies, base.with_suffix(".png"))
    console.print(f"written: {base}.md, {base}.png")


if __name__ == "__main__":
    main()
