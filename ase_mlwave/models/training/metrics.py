"""What was measured during a run: a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

__all__ = ["read_metrics", "write_metrics"]

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
