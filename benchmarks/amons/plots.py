"""Learning curves: error against the size of the amons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.amons.classes import SystemClass
from benchmarks.amons.curve import Curve
from benchmarks.amons.report import mean_errors

__all__ = ["draw"]

#: Systems up to which each has a colour and a name; up to which each has a grey line.
_NAMED, _SHOWN = 8, 60
#: Errors below this are drawn here, kcal/mol.
_LEAST = 0.01


def draw(kind: SystemClass, curves: Sequence[Curve], path: Path) -> None:
    """Plot absolute errors of all systems of a class, their mean, and the target.

    Parameters
    ----------
    kind : SystemClass
        What is drawn.
    curves : sequence of Curve
        Of its systems.
    path : Path
        PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        _systems(axes, curves)
        means = [point for point in mean_errors(curves) if 2 * point[1] > len(curves)]
        if len(curves) > 1 and means:
            sizes, values = [size for size, _, _ in means], [max(error, _LEAST) for _, _, error in means]
            axes.plot(sizes, values, "ko-", linewidth=2, markersize=6, label="mean", zorder=4)
        axes.axhline(kind.target, color="0.35", linestyle="--", linewidth=1, label=f"target {kind.target:g}", zorder=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.set_xlabel("heavy atoms of the largest amons")
        axes.set_ylabel(f"absolute error (kcal/mol a {kind.per})")
        axes.set_title(f"{kind.title}: {kind.systems}", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(path, dpi=95)


def _systems(axes: Any, curves: Sequence[Curve]) -> None:
    """Draw each system, or the spread of many."""
    named = len(curves) <= _NAMED
    if len(curves) > _SHOWN:
        _spread(axes, curves)
        return
    for number, curve in enumerate(curves):
        style = {"color": f"C{number}", "label": curve.system, "marker": "o"} if named else {"color": "0.72"}
        axes.plot(curve.sizes, np.maximum(np.abs(curve.errors_kcal), _LEAST), linewidth=1, markersize=4, **style)
    if not named:
        axes.plot([], [], color="0.72", linewidth=1, label=f"{len(curves)} systems")


def _spread(axes: Any, curves: Sequence[Curve]) -> None:
    """Shade the middle half and the middle nine tenths of the errors."""
    at: dict[int, list[float]] = {}
    for curve in curves:
        for size, error in zip(curve.sizes, curve.errors_kcal, strict=True):
            at.setdefault(size, []).append(max(abs(error), _LEAST))
    sizes = sorted(at)
    for low, high, colour in ((5, 95, "0.90"), (25, 75, "0.78")):
        edges = np.array([np.percentile(at[size], [low, high]) for size in sizes])
        label = f"{high - low} % of {len(curves)} systems"
        axes.fill_between(sizes, edges[:, 0], edges[:, 1], color=colour, linewidth=0, label=label)
