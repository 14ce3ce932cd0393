r"""Train on small molecules, test on larger ones: quantum deep fields beside SchNet, alone or beyond GFN2-xTB.

    python -m benchmarks.extrapolation qm7.npz --output extrapolation
    python -m benchmarks.extrapolation chno.extxyz --settings benchmarks/extrapolation/chno.yaml \
        --conformers ../shared/data/conformers_chno_dev.npz --output extrapolation

Sizes, settings and steps are in ``qm7.yaml``, or the file of ``--settings``. All models have the same atoms' energies
subtracted (a least-squares fit to the training molecules: the part of an energy that grows with the molecule, which no
model should have to find), those with a ``base`` that level's energies before, and learn on one thread from energies.
Base energies and results are kept in the output folder: a run that was broken off goes on. Writes a table and a
picture, called as the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ase_mlwave.console import Console
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.reference.levels import LevelOfTheory
from benchmarks.base_levels import energies_at
from benchmarks.common import (
    KCAL_PER_MOL,
    command_line,
    cpu_seconds,
    existing,
    markdown_table,
    one_thread,
    read_json,
    rich_table,
    write_json,
)
from benchmarks.conformers import about_mean
from benchmarks.extrapolation.models import beyond, fit
from benchmarks.extrapolation.molecules import Array, Parts, energies, parts_of
from benchmarks.extrapolation.report import Result, conformer_rows, draw, rows
from benchmarks.kernels import Level, kept


def measure(model: str, settings: Mapping[str, Any], parts: Parts, level: str, folder: Path) -> Result:
    """Train a model, and test it; what it is to learn beyond a base level is in ``parts``."""
    (predict, size), seconds = cpu_seconds(lambda: fit(model, settings, parts, level, folder))
    tests = [name for name in ("test", "large", "conformers") if name in parts]
    errors = {name: (predict(parts[name]) - energies(parts[name])) * KCAL_PER_MOL for name in tests}
    absolute = (np.abs(errors[name]).tolist() for name in ("test", "large"))
    relative = by_molecule(parts, errors["conformers"]) if "conformers" in errors else {}
    return Result(settings.get("steps", 0), seconds, size, *absolute, relative)


def by_molecule(parts: Parts, errors: Array) -> dict[str, float]:
    """Return the mean absolute error of each molecule's conformers about the mean of their errors."""
    names = np.array([record.info["molecule"] for record in parts["conformers"]])
    some = {name: errors[names == name] for name in dict.fromkeys(names.tolist())}
    return {name: about_mean(one, np.zeros_like(one)) for name, one in some.items()}


def measured(
    models: Mapping[str, Mapping[str, Any]], parts: Parts, level: str, folder: Path, console: Console
) -> dict[str, Result]:
    """Measure every model that is not known yet; base energies are computed once for all."""
    file = folder / "results.json"
    known: dict[str, Any] = read_json(file, {})
    molecules = [record.content_hash() for part in parts.values() for record in part]
    results = {}
    for model, own in models.items():
        key = hashlib.sha256(repr([model, own, molecules]).encode()).hexdigest()[:16]
        if key not in known:
            console.print(f"{model} ...", style="dim")
            learned = beyond(parts, _base(own["base"], folder)) if "base" in own else parts
            one = measure(model, own, learned, level, folder / model.replace(" ", "-"))
            known[key] = {"model": model, **asdict(one)}
            write_json(file, known)
        results[model] = Result(**{name: value for name, value in known[key].items() if name != "model"})
    return results


def _base(name: str, folder: Path) -> Level:
    """Return a base level whose energies are kept in the folder."""
    return kept(folder / f"{name}.json", energies_at(LevelOfTheory.parse(name)))


def main(words: Sequence[str] | None = None) -> None:
    """Train all models; print and write the tables; draw the picture."""
    parser = command_line("extrapolation", __doc__, output=...)
    parser.add_argument("data", type=existing, help="file that mlwave reads, neutral closed shells with energies")
    file = Path(__file__).with_name("qm7.yaml")
    parser.add_argument("--settings", type=existing, default=file, help="in place of qm7.yaml")
    parser.add_argument("--conformers", type=existing, help="a set of conformers to test on, for data at PBE/def2-SVP")
    chosen, console = parser.parse_args(words), Console()
    settings = yaml.safe_load(chosen.settings.read_text(encoding="utf-8"))
    with one_thread():
        data, bound = read_dataset(chosen.data), settings["molecules"]["bound"]
        parts = parts_of(data, settings["molecules"], chosen.conformers)
        results = measured(settings["models"], parts, data.level, chosen.output, console)
    n_train = f"{len(parts['train']):,} training molecules of at most {bound} atoms"
    title = f"{chosen.data.stem}, {data.level}: {n_train}"
    tables = {f"Mean absolute error, kcal/mol. {title}.": rows(parts, bound, results)}
    if "conformers" in parts:
        words_of = f"{len(parts['conformers'])} conformers: mean absolute error about each molecule's mean, kcal/mol."
        tables[words_of] = conformer_rows(parts, results)
    for words_above, cells in tables.items():
        console.print(rich_table(cells, words_above))
    text = "\n".join(f"{words_above}\n\n{markdown_table(cells)}\n" for words_above, cells in tables.items())
    base = chosen.output / chosen.data.stem
    base.parent.mkdir(parents=True, exist_ok=True)
    base.with_suffix(".md").write_text(text, encoding="utf-8")
    draw(parts, bound, results, f"{chosen.data.stem}: {n_train}", base.with_suffix(".png"))


if __name__ == "__main__":
    main()
