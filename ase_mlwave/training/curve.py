"""The learning curve as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["draw_learning_curve", "keep_metrics", "read_metrics"]

_METRICS = "metrics.csv"


def keep_metrics(folder: Path) -> None:
    """Put the metrics of an interrupted run aside before it goes on: Lightning's logger would delete them."""
    metrics = folder / _METRICS
    if metrics.exists():
        metrics.rename(folder / f"metrics_{len(list(folder.glob('metrics_*.csv'))) + 1:03d}.csv")


def read_metrics(folder: Path) -> dict[str, dict[int, float]]:
    """Read the metrics of a run and of those that it resumed.

    Parameters
    ----------
    folder : Path
        Where ``metrics.csv`` is.

    Returns
    -------
    dict
        Name of the metric -> optimiser steps done -> value, in order; where runs overlap, the later one counts.
    """
    series: dict[str, dict[int, float]] = {}
    for file in [*sorted(folder.glob("metrics_*.csv")), folder / _METRICS]:
        if not file.exists():
            continue
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                for name, value in row.items():
                    if value and name not in ("step", "epoch"):
                        series.setdefault(name, {})[int(row["step"]) + 1] = float(value)
    return {name: dict(sorted(values.items())) for name, values in series.items()}


def draw_learning_curve(folder: Path, picture: Path) -> None:
    """Draw training loss and validation errors against the step, logarithmically.

    Parameters
    ----------
    folder : Path
        Where the ``metrics.csv`` of a run is.
    picture : Path
        PNG to write.
    """
    series = {name: (list(values), list(values.values())) for name, values in read_metrics(folder).items()}
    names = ["train/loss", *sorted(name for name in series if name.startswith("valid/"))]
    names = [name for name in names if name in series]
    if not names:
        return
    figure = Figure(figsize=(4.5 * len(names), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.semilogy(*series[name], lw=1.3, color="tab:blue" if name.startswith("valid") else "tab:gray")
        axes.set(xlabel="optimiser step", title=name.replace("_", " "))
        axes.locator_params(axis="x", nbins=5)
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.annotate(f"{series[name][1][-1]:.4g}", (series[name][0][-1], series[name][1][-1]), ha="right", va="bottom")
    figure.savefig(picture, dpi=120)
