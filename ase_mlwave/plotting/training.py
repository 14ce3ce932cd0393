"""Pictures of training: loss and validation errors against the step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = ["AVERAGE", "TRAINED", "draw_learning_curve", "readable"]

#: Begin the names of validation errors, by whose weights they are of; the first is shipped more often.
AVERAGE, TRAINED = "valid/", "valid_trained/"
#: Ratio of largest to smallest value from which an axis is logarithmic.
_LOGARITHMIC = 4.0
_UNITS = {"uHa": "µHa", "uHa_per_Bohr": "µHa/Bohr", "meV": "meV", "meV_per_A": "meV/Å", "e_Bohr": "e Bohr"}

Metrics = Mapping[str, Mapping[int, float]]
"""Name -> optimiser steps done -> value."""


def readable(name: str) -> tuple[str, str]:
    """Split the name of a metric into what it is of and its unit: ``valid/forces_meV_per_A`` -> forces, meV/Å."""
    what, _, unit = name.rpartition("/")[2].partition("_")
    return (what, _UNITS[unit]) if unit in _UNITS else (name.rpartition("/")[2].replace("_", " "), "")


def draw_learning_curve(metrics: Metrics, picture: Path) -> None:
    """Draw training loss and validation errors against the step.

    Parameters
    ----------
    metrics : mapping
        Name -> optimiser steps done -> value; names of validation errors begin with ``AVERAGE`` or ``TRAINED``.
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
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
