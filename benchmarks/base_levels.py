"""Measure how many energies of an expensive level one molecule needs, alone or on top of a cheaper level.

    mlwave sample smiles:CO methanol.extxyz -t 300 -t 700 -t 1000 --number 100
    mlwave label methanol.extxyz methanol.db --level "ccsd(t)/cc-pvdz" --no-forces --split train=0.7,test=0.3
    python -m benchmarks.base_levels methanol.db --base "hf/cc-pvdz" "phisnet-chno energy=functional"

A kernel learns the energies, or what they have beyond each base, of the first so many training geometries in a drawn
order, and predicts those of ``test``. Bases are levels of theory; what they compute is kept in the folder of results.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.calculators.calculator import InputError

from ase_mlwave.console import Console
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.reference.levels import LevelOfTheory
from benchmarks import common
from benchmarks.common import KCAL_PER_MOL, existing, positive
from benchmarks.kernels import Energies, Level, kept, kernel

#: Ends the name of a level whose energies are taken as they are, but for a constant.
_SHIFTED = ", its mean shifted"
#: Name of a learner -> number of training geometries -> errors of the test geometries, kcal/mol.
Errors = dict[str, dict[int, Energies]]


def splits_of(dataset: Dataset, seed: int) -> tuple[list[Record], list[Record]]:
    """Return the training records in a drawn order, and the test records.

    Raises
    ------
    InputError
        If there are none, they are not of one molecule, or lack energies.
    """
    training, test = list(dataset.split("train")), list(dataset.split("test"))
    formulas = {record.formula for record in (*training, *test)}
    if len(formulas) != 1 or not test:
        raise InputError(f"{dataset.source} needs splits train and test of one molecule; it has {sorted(formulas)}")
    if any(record.energy is None for record in (*training, *test)):
        raise InputError(f"{dataset.source} has geometries without energies")
    order = np.random.default_rng(seed).permutation(len(training))
    return [training[i] for i in order], test


def energies_at(level: LevelOfTheory) -> Level:
    """Compute energies at a level (B,), Hartree."""
    alone = level.energies_only()

    def energies(records: Sequence[Record]) -> Energies:
        return np.array([alone.label(record).energy for record in records], dtype=np.float64)

    return energies


def measure(
    training: Sequence[Record], test: Sequence[Record], bases: Mapping[str, Level], points: Sequence[int]
) -> Errors:
    """Learn with and without bases.

    Parameters
    ----------
    training, test : sequence of Record
        With energies.
    bases : mapping
        Name -> energies of records.
    points : sequence of int
        Numbers of training geometries; larger ones than there are geometries are left out.

    Returns
    -------
    dict
        Errors of the kernel alone and on each base, and with 0 geometries of the base itself, its mean shifted.
    """
    labels = np.array([record.energy for record in test])
    numbers = sorted(n for n in set(points) if n <= len(training))
    nothing: Level = lambda records: np.zeros(len(records))  # noqa: E731
    found: Errors = {}
    for name, base in {"": nothing, **bases}.items():
        low, cheap = base(training), base(test)
        lacking = [float(one.energy or 0.0) - float(e) for one, e in zip(training, low, strict=True)]
        added = [replace(one, energy=e, forces=None, dipole=None) for one, e in zip(training, lacking, strict=True)]
        curve = found.setdefault(f"kernel on {name}" if name else "kernel", {})
        if name:
            found[f"{name}{_SHIFTED}"] = {0: KCAL_PER_MOL * (cheap + np.mean(lacking) - labels)}
        for n in numbers:
            curve[n] = KCAL_PER_MOL * (cheap + kernel(added[:n], test) - labels)
    return found


def table(errors: Errors) -> list[list[str]]:
    """Make rows of the errors."""
    rows = [["learner", "geometries", "mean", "median", "largest"]]
    for name, curve in errors.items():
        for n, one in curve.items():
            figures = (np.abs(one).mean(), np.median(np.abs(one)), np.abs(one).max())
            rows.append([name, f"{n}" if n else "", *(f"{value:.3f}" for value in figures)])
    return rows


def draw(errors: Errors, title: str, path: Path) -> None:
    """Draw mean errors against the number of geometries; of a base alone as a dotted line of the same colour."""
    with common.picture(path, (6.4, 4.0)) as axes:
        colours: dict[str, str] = {}
        for name, curve in errors.items():
            means = [np.abs(one).mean() for one in curve.values()]
            if 0 not in curve:
                (line,) = axes.loglog(list(curve), means, "o-", ms=4, lw=1.2, label=name)
                colours[name.removeprefix("kernel on ")] = line.get_color()
        for name, curve in errors.items():
            if 0 in curve:
                axes.axhline(np.abs(curve[0]).mean(), color=colours[name.removesuffix(_SHIFTED)], lw=1.0, ls=":")
        common.plain_numbers(axes.xaxis)
        common.plain_numbers(axes.yaxis)
        axes.set_xlabel("geometries learned from")
        axes.set_ylabel("mean error, kcal/mol")
        axes.set_title(f"{title} (dotted: the level alone)", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 0.0))


def main(words: Sequence[str] | None = None) -> None:
    """Compute the bases, fit, print the table, draw the curves."""
    parser = common.command_line("base_levels", __doc__, output=Path("runs/base_levels"), seed=0)
    parser.add_argument("data", type=existing, help="energies of one molecule, with splits train and test")
    parser.add_argument("--base", nargs="*", default=[], help="cheaper levels of theory")
    parser.add_argument("--points", type=positive(int), nargs="+", default=[10, 25, 50, 100, 200], help="to learn from")
    chosen = parser.parse_args(words)
    levels = [LevelOfTheory.parse(text) for text in chosen.base]
    dataset = read_dataset(chosen.data)
    training, test = splits_of(dataset, chosen.seed)
    chosen.output.mkdir(parents=True, exist_ok=True)
    files = [chosen.output / f"{re.sub('[^A-Za-z0-9]+', '_', level.name)}.json" for level in levels]
    computed = [kept(file, energies_at(level)) for file, level in zip(files, levels, strict=True)]
    bases = dict(zip(chosen.base, computed, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        errors = measure(training, test, bases, chosen.points)
    title = f"{training[0].formula}, {dataset.level}, {len(test)} test geometries"
    Console().print(common.rich_table(table(errors), f"{title}, kcal/mol"))
    draw(errors, title, chosen.output / "base_levels.png")


if __name__ == "__main__":
    with common.one_thread():
        main()
