"""What models reached: results on disk, tables, and a plot of errors against size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Record
from benchmarks.common import KCAL_PER_MOL, bar, markdown_table, picture, plain_numbers, write_json
from benchmarks.extrapolation.models import TITLES, Job, fit
from benchmarks.extrapolation.split import SizeSplit, energies


@dataclass(frozen=True)
class Result:
    """A trained model's cost and errors."""

    model: str  # which
    steps: int  # optimiser steps
    batch_size: int  # molecules in each
    seconds: float  # CPU-seconds of training
    n_parameters: int  # learned numbers
    test: list[float]  # predicted minus true energies of the held-out small molecules, kcal/mol
    large: list[float]  # those of the larger ones
    made_from: dict[str, Any]  # everything that the result depends on


@dataclass(frozen=True)
class SizeErrors:
    """Mean absolute error of molecules of one size, and its standard error (NaN for a single molecule), kcal/mol."""

    n_atoms: int
    n_molecules: int
    error: float
    uncertainty: float


Study = tuple[SizeSplit, Sequence[Result]]
"""One data set with the results of all models."""

#: The published claim, kcal/mol, for molecules of at least so many atoms.
CLAIM, CLAIM_FROM = 3.0, 15
#: Sizes with fewer molecules are not drawn.
_FEWEST = 5
_STYLES = {"qdf": ("C0", "o"), "qdf-no-potential": ("C1", "s"), "schnet": ("C2", "^"), "atoms": ("0.6", "x")}


def by_size(records: Sequence[Record], errors: Sequence[float]) -> list[SizeErrors]:
    """Average signed errors (B,), kcal/mol, of molecules by their number of atoms, rising."""
    sizes, absolute = np.array([len(record) for record in records]), np.abs(errors)
    found = []
    for n in np.unique(sizes):
        some = absolute[sizes == n]
        spread = some.std(ddof=1) / np.sqrt(len(some)) if len(some) > 1 else np.nan
        found.append(SizeErrors(int(n), len(some), float(some.mean()), float(spread)))
    return found


def obtain(model: str, job: Job, path: Path) -> tuple[Result, bool]:
    """Read a model's result, or train the model, test it, and write the result; say whether it was there already.

    A file with a result of other data or options is refused (``InputError``).
    """
    made_from = {"seed": job.seed, "bound": job.split.bound, **job.split.hashes()}
    if model != "atoms":
        made_from["budget"] = job.budget
    if model.startswith("qdf"):
        made_from["settings"] = json.loads(json.dumps(job.settings))
    if path.exists():
        return _read(path, made_from), True
    fitted = fit(model, job)
    errors = {}
    with bar(job.progress) as progress:
        for name, records in {"test": job.split.test, "large": job.split.large}.items():
            task = progress.add_task(f"{TITLES[model]}, {name}", total=len(records))
            predicted = fitted.predict(records, partial(progress.advance, task))
            errors[name] = ((predicted - energies(records)) * KCAL_PER_MOL).tolist()
    if not np.isfinite(errors["test"] + errors["large"]).all():
        raise InputError(f"{TITLES[model]} diverged: its energies are not finite; try a lower learning rate")
    cost = (fitted.steps, fitted.batch_size, fitted.seconds, fitted.n_parameters)
    result = Result(model, *cost, **errors, made_from=made_from)
    write_json(path, asdict(result))
    return result, False


def _read(path: Path, made_from: dict[str, Any]) -> Result:
    """Read a result, and refuse one that was made from something else."""
    try:
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not a result of this benchmark ({error}); remove it") from error
    keys = sorted(made_from.keys() | result.made_from.keys())
    different = [key for key in keys if made_from.get(key) != result.made_from.get(key)]
    if different:
        raise InputError(
            f"{path} was made with another {', '.join(different)}; remove it, or give another --output folder"
        )
    return result


def rows(study: Study) -> list[list[str]]:
    """Write the table of a data set: the error of held-out small molecules, errors by size, their mean, and costs."""
    split, results = study
    cells = [["atoms", "molecules", *(TITLES[r.model] for r in results)]]
    cells.append([f"at most {split.bound}, held out", str(len(split.test)), *(_error(r.test) for r in results)])
    sizes = [by_size(split.large, r.large) for r in results]
    cells += [
        [str(same[0].n_atoms), str(same[0].n_molecules), *(f"{s.error:.2f}" for s in same)]
        for same in zip(*sizes, strict=True)
    ]
    cells.append([f"{split.bound + 1} and more", str(len(split.large)), *(_error(r.large) for r in results)])
    cells.append(["CPU-seconds of training", "", *(f"{r.seconds:.0f}" if r.steps else "-" for r in results)])
    cells.append(["steps", "", *(f"{r.steps:,} of {r.batch_size}" if r.steps else "-" for r in results)])
    return [*cells, ["parameters", "", *(f"{r.n_parameters:,}" for r in results)]]


def _error(errors: Sequence[float]) -> str:
    return f"{np.abs(errors).mean():.2f}"


def title(split: SizeSplit) -> str:
    return f"{split.name}, {split.level}: {len(split.train)} training molecules of at most {split.bound} atoms"


def markdown(studies: Sequence[Study]) -> str:
    """Write the tables of all data sets as Markdown."""
    head = "Mean absolute error, kcal/mol."
    return "\n".join(f"{head} {title(study[0])}.\n\n{markdown_table(rows(study))}\n" for study in studies)


def _points(split: SizeSplit, result: Result) -> list[SizeErrors]:
    return by_size((*split.test, *split.large), [*result.test, *result.large])


def draw(studies: Sequence[Study], path: Path) -> None:
    """Plot mean absolute errors, with standard errors, against the number of atoms, a panel for each data set.

    Sizes with fewer than five molecules are left out.
    """
    with picture(path, (5.6 * len(studies), 4.4), panels=len(studies), dpi=150) as panels:
        panels = [panels] if len(studies) == 1 else panels
        for axes, study in zip(panels, studies, strict=True):
            _panel(axes, study)
        panels[0].set_ylabel("mean absolute error (kcal/mol)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure = panels[0].figure
        figure.legend(handles, labels, loc="outside lower center", ncols=2 * len(studies), frameon=False)


def _panel(axes: Any, study: Study) -> None:
    split, results = study
    drawn: list[int] = []
    for result in results:
        points = [p for p in _points(split, result) if p.n_molecules >= _FEWEST]
        colour, marker = _STYLES[result.model]
        sizes, errors, bars = ([getattr(p, key) for p in points] for key in ("n_atoms", "error", "uncertainty"))
        style = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.2, "capsize": 2}
        axes.errorbar(sizes, errors, bars, **style, label=TITLES[result.model], zorder=2 + (result.model != "atoms"))
        drawn += sizes
    low, high = min(drawn, default=split.bound) - 0.5, max(drawn, default=split.bound + 1) + 0.5
    axes.axvspan(low, split.bound + 0.5, color="0.93", zorder=0)
    axes.text(low + 0.1, 0.99, "learned sizes", transform=axes.get_xaxis_transform(), va="top", color="0.4")
    claim = f"published claim, {CLAIM_FROM} atoms and more"
    axes.axhline(CLAIM, color="0.3", linestyle="--", linewidth=1, zorder=1, label=claim)
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)
    axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(1.5, 0.4)))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.set_xlim(low, high)
    axes.set_xlabel("number of atoms")
    axes.set_title(f"{split.name}: {len(split.train)} molecules of at most {split.bound} atoms", fontsize=10)
