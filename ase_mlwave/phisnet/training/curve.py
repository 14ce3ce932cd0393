"""The learning curve as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["draw_learning_curve"]


def draw_learning_curve(metrics: Path, picture: Path) -> None:
    """Draw training loss and validation errors against the step, logarithmically.

    Parameters
    ----------
    metrics : Path
        ``metrics.csv`` of a run.
    picture : Path
        PNG to write.
    """
    series: dict[str, tuple[list[int], list[float]]] = {}
    with metrics.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            for name, value in row.items():
                if value and name.startswith(("train/loss", "valid/")):
                    steps, values = series.setdefault(name, ([], []))
                    steps.append(int(row["step"]) + 1)
                    values.append(float(value))
    names = ["train/loss", *sorted(name for name in series if name.startswith("valid/"))]
    names = [name for name in names if name in series]
    if not names:
        return
    figure = Figure(figsize=(4.5 * len(names), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.semilogy(*series[name], lw=1.3, color="tab:blue" if name.startswith("valid") else "tab:gray")
        axes.set(xlabel="optimiser step", title=name.replace("_", " "))
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.annotate(f"{series[name][1][-1]:.4g}", (series[name][0][-1], series[name][1][-1]), ha="right", va="bottom")
    figure.savefig(picture, dpi=120)
