"""Tables and a plot of errors against size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.table import Table

from benchmarks.extrapolation.models import TITLES
from benchmarks.extrapolation.results import Result, by_size
from benchmarks.extrapolation.split import SizeSplit

__all__ = ["Study", "draw", "markdown", "rich_table", "summary"]

Study = tuple[SizeSplit, Sequence[Result]]
"""One data set with the results of all models."""

#: The published claim, kcal/mol, for molecules of at least so many atoms.
CLAIM, CLAIM_FROM = 3.0, 15
#: Sizes with fewer molecules are not drawn.
_FEWEST = 5
_STYLES = {"qdf": ("C0", "o"), "qdf-no-potential": ("C1", "s"), "schnet": ("C2", "^"), "atoms": ("0.6", "x")}


def rows(study: Study) -> list[list[str]]:
    """Write the table's cells: costs, the error of held-out small molecules, errors by size, and their mean.

    Parameters
    ----------
    study : Study
        One data set.

    Returns
    -------
    list of list of str
        First the names of the columns: what, number of molecules, and the models.
    """
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
    cells.append(["parameters", "", *(f"{r.n_parameters:,}" for r in results)])
    return cells


def title(split: SizeSplit) -> str:
    """Say what was learned from."""
    return f"{split.name}, {split.level}: {len(split.train)} training molecules of at most {split.bound} atoms"


def rich_table(study: Study) -> Table:
    """Make a table for the terminal: mean absolute errors, kcal/mol."""
    head, *body = rows(study)
    table = Table(title=f"{title(study[0])}; mean absolute error, kcal/mol")
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in body:
        table.add_row(*row)
    return table


def markdown(studies: Sequence[Study]) -> str:
    """Write the tables of all data sets as Markdown."""
    parts = []
    for study in studies:
        head, *body = rows(study)
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"Mean absolute error, kcal/mol. {title(study[0])}.\n\n{table}\n")
    return "\n".join(parts)


def summary(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """Collect what tables and plot show, as JSON can hold it; errors and their standard errors in kcal/mol."""
    return [
        {
            "data": split.name,
            "level": split.level,
            "bound": split.bound,
            "training molecules": len(split.train),
            "left out (elements that were not learned)": split.left_out,
            "models": {
                r.model: {
                    "CPU-seconds": r.seconds,
                    "steps": r.steps,
                    "batch size": r.batch_size,
                    "parameters": r.n_parameters,
                    "held out": float(np.abs(r.test).mean()),
                    "larger": float(np.abs(r.large).mean()),
                    "by size": [_plain(asdict(s)) for s in by_size((*split.test, *split.large), [*r.test, *r.large])],
                }
                for r in results
            },
        }
        for split, results in studies
    ]


def draw(studies: Sequence[Study], path: Path) -> None:
    """Plot mean absolute errors against the number of atoms, one panel for each data set.

    Parameters
    ----------
    studies : sequence of Study
        Data sets.
    path : Path
        PNG file to write.

    Notes
    -----
    Bars are standard errors of the mean. Sizes with fewer than five molecules are left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.6 * len(studies), 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(studies), squeeze=False)[0]
        for axes, study in zip(panels, studies, strict=True):
            _panel(axes, study)
        panels[0].set_ylabel("mean absolute error (kcal/mol)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2 * len(studies), frameon=False)
        figure.savefig(path, dpi=150)


def _panel(axes: Any, study: Study) -> None:
    """Draw one data set."""
    split, results = study
    drawn: list[int] = []
    for result in results:
        points = by_size((*split.test, *split.large), [*result.test, *result.large])
        points = [p for p in points if p.n_molecules >= _FEWEST]
        colour, marker = _STYLES[result.model]
        sizes = [p.n_atoms for p in points]
        axes.errorbar(
            sizes,
            [p.error for p in points],
            [p.uncertainty for p in points],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.2,
            capsize=2,
            label=TITLES[result.model],
            zorder=2 if result.model == "atoms" else 3,
        )
        drawn += sizes
    low, high = min(drawn, default=split.bound) - 0.5, max(drawn, default=split.bound + 1) + 0.5
    axes.axvspan(low, split.bound + 0.5, color="0.93", zorder=0)
    axes.text(low + 0.1, 0.99, "learned sizes", transform=axes.get_xaxis_transform(), va="top", color="0.4")
    claim = f"published claim, {CLAIM_FROM} atoms and more"
    axes.axhline(CLAIM, color="0.3", linestyle="--", linewidth=1, zorder=1, label=claim)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(1.5, 0.4)))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.set_xlim(low, high)
    axes.set_xlabel("number of atoms")
    axes.set_title(f"{split.name}: {len(split.train)} molecules of at most {split.bound} atoms", fontsize=10)


def _error(errors: Sequence[float]) -> str:
    return f"{np.abs(errors).mean():.2f}"


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    """Write what is not a number as null."""
    return {name: None if np.isnan(value) else value for name, value in values.items()}
