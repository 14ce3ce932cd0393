"""Train on small molecules, test on larger ones: quantum deep fields beside SchNet, at the same CPU time.

    python -m benchmarks.extrapolation qm7.npz qm9_under14.npz --output FOLDER --budget 3600

Every data set is divided by size: models learn from molecules of at most --bound atoms (14; where none is larger, two
less than the largest), a tenth of which is held out, and are tested on those and on all larger ones. All models have
the same atoms' energies subtracted (a least-squares fit to the training molecules: the part of an energy that grows
with the molecule, which no model should have to find) and learn for the same number of CPU-seconds on one thread.
Run from the root of the repository. A model whose result is in the output folder is not trained again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from ase.calculators.calculator import InputError
from rich.console import Console

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.training.yaml_settings import read_yaml
from benchmarks.extrapolation.models import MODELS, TITLES, Job, check_models
from benchmarks.extrapolation.qdf import check_settings
from benchmarks.extrapolation.report import Study, draw, markdown, rich_table, summary
from benchmarks.extrapolation.results import obtain
from benchmarks.extrapolation.split import SizeSplit, divide


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extrapolation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data", type=Path, nargs="+", help="files that mlwave reads, with energies; forces are not used"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for results, table, plot and runs")
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--budget", type=float, default=3600.0, help="CPU-seconds of training for each model")
    parser.add_argument("--bound", type=int, help="largest number of atoms to learn from")
    parser.add_argument("--molecules", type=int, help="number of molecules to learn from (default: all)")
    parser.add_argument("--per-size", type=int, help="larger molecules of each size to test on (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--qdf-settings", type=Path, help="YAML file as mlwave train's: model, loss, optimiser, ...")
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="show no progress bars")
    return parser.parse_args(words)


def prepare(chosen: argparse.Namespace) -> tuple[list[SizeSplit], dict[str, object]]:
    """Check everything and divide the data, before any model is trained.

    Returns
    -------
    splits : list of SizeSplit
        In the order given.
    settings : dict
        Of the quantum deep fields.

    Raises
    ------
    InputError, ValueError, FileNotFoundError
        If an option, a setting or a file is wrong.
    """
    check_models(chosen.models)
    for name in ("budget", "bound", "molecules", "per_size"):
        value = getattr(chosen, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} was {value}; it must be positive")
    stems = [path.stem for path in chosen.data]
    if len(set(stems)) < len(stems):
        raise InputError(f"data files need different names, since results are kept by name: {', '.join(stems)}")
    settings = {} if chosen.qdf_settings is None else read_yaml(chosen.qdf_settings)
    check_settings(settings)
    how = {"seed": chosen.seed, "n_train": chosen.molecules, "n_per_size": chosen.per_size}
    return [divide(read_dataset(path), chosen.bound, **how) for path in chosen.data], settings


def main(words: Sequence[str] | None = None) -> None:
    """Train what is missing; write extrapolation.json, .md and .png; print the tables."""
    chosen, console = options(words), Console()
    torch.set_num_threads(1)
    try:
        splits, settings = prepare(chosen)
    except (InputError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    studies: list[Study] = []
    for split in splits:
        results = []
        for model in dict.fromkeys(chosen.models):
            place = chosen.output / split.name / model
            console.print(f"[dim]{split.name}: {TITLES[model]} ...[/dim]")
            job = Job(split, chosen.budget, chosen.seed, place, settings, chosen.progress)
            try:
                result, read = obtain(model, job, place / "result.json")
            except InputError as error:
                raise SystemExit(f"error: {error}") from error
            console.print(f"[dim]{'read from' if read else 'written to'} {place / 'result.json'}[/dim]")
            results.append(result)
        studies.append((split, results))
        console.print(rich_table(studies[-1]))
        if split.left_out:
            console.print(f"{split.left_out} molecules with elements that were not learned are left out")
    base = chosen.output / "extrapolation"
    base.with_suffix(".json").write_text(json.dumps(summary(studies), indent=2) + "\n", encoding="utf-8")
    base.with_suffix(".md").write_text(markdown(studies), encoding="utf-8")
    draw(studies, base.with_suffix(".png"))
    console.print(f"written: {base}.json, {base}.md, {base}.png")


if __name__ == "__main__":
    main()
