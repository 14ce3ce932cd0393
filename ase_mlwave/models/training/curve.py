"""What was measured during a run: a table, and a picture of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = ["draw_learning_curve", "read_metrics", "readable", "write_metrics"]

#: Begin the names of validation errors, by whose weights they are of; the first is shipped more often.
AVERAGE, TRAINED = "valid/", "valid_trained/"
#: Ratio of largest to smallest value from which an axis is logarithmic.
_LOGARITHMIC = 4.0
_UNITS = {"uHa": "µHa", "uHa_per_Bohr": "µHa/Bohr", "meV": "meV", "meV_per_A": "meV/Å"}

Metrics = Mapping[str, Mapping[int, float]]
"""Name -> optimiser steps done -> value."""


def write_metrics(folder: Path, metrics: Metrics) -> None:
    """Write ``metrics.csv``: a row for every step at which something was measured."""
    names = sorted(metrics)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "metrics.partial"
    with partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", *names])
        for step in sorted({step for values in metrics.values() for step in values}):
            table.writerow([step, *(metrics[name].get(step, "") for name in names)])
    partial.replace(folder / "metrics.csv")


def read_metrics(folder: Path) -> dict[str, dict[int, float]]:
    """Read the metrics of a run.

    Parameters
    ----------
    folder : Path
        Where ``metrics.csv`` is.

    Returns
    -------
    dict
        Name of the metric -> optimiser steps done -> value, in order.
    """
    series: dict[str, dict[int, float]] = {}
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            for name, value in row.items():
                if value and name != "step":
                    series.setdefault(name, {})[int(row["step"])] = float(value)
    return series


def readable(name: str) -> tuple[str, str]:
    """Split the name of a metric into what it is of and its unit: ``valid/forces_meV_per_A`` -> forces, meV/Å."""
    what, _, unit = name.rpartition("/")[2].partition("_")
    return (what, _UNITS[unit]) if unit in _UNITS else (name.rpartition("/")[2].replace("_", " "), "")


def draw_learning_curve(metrics: Metrics, picture: Path) -> None:
    """Draw training loss and validation errors against the step.

    Parameters
    ----------
    metrics : mapping
        As of `read_metrics`.
    picture : Path
        PNG to write.
    """
    errors = [name for name in sorted(metrics) if name.startswith(AVERAGE) and name != f"{AVERAGE}loss"]
    panels = [{"train/loss": "training"} | ({f"{AVERAGE}loss": "validation"} if f"{AVERAGE}loss" in metrics else {})]
    panels += [{name: "averaged weights", TRAINED + name.removeprefix(AVERAGE): "trained weights"} for name in errors]
    if "train/loss" not in metrics:
        return
    figure = Figure(figsize=(4.8 * len(panels), 4.0), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for (name, label), style in zip(panel.items(), ("o-", "s--"), strict=False):
            if name in metrics:
                axes.plot(*zip(*metrics[name].items(), strict=True), style, ms=3, lw=1.4, label=label)
        what, unit = readable(next(iter(panel)))
        heading = what if what == "loss" else f"validation error of {what}"
        _finish(axes, f"{heading} ({unit})" if unit else heading)
    partial = picture.with_suffix(".partial")
    figure.savefig(partial, dpi=130, format="png")
    partial.replace(picture)


def _finish(axes: Axes, title: str) -> None:
    """Set scales, ticks that can be read, title and legend."""
    values = [y for line in axes.lines for y in np.asarray(line.get_ydata(), dtype=np.float64).tolist() if y > 0]
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("optimiser step")
    axes.locator_params(axis="x", nbins=5)
    if values and max(values) > _LOGARITHMIC * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=9)
