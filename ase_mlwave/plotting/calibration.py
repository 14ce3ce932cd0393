"""Pictures of a committee's spread against its error."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

__all__ = ["DrawnBin", "DrawnCalibration", "draw_calibration"]

#: Range of a plot from which on only powers of ten have a number.
_MANY_DECADES = 300


class DrawnBin(Protocol):
    """Hold the molecules (or atoms) of nearly one spread."""

    @property
    def spread(self) -> float:
        """Root mean square of their spreads."""

    @property
    def error(self) -> float:
        """Root mean square of their errors."""

    @property
    def uncertainty(self) -> float:
        """Standard error of ``error``."""


class DrawnCalibration(Protocol):
    """Hold what is drawn in a panel."""

    @property
    def title(self) -> str:
        """Above the panel."""

    @property
    def unit(self) -> str:
        """As the names of figures end, such as ``meV_per_A``."""

    def bins(self) -> Sequence[DrawnBin]:
        """Group spreads and errors."""

    def ratio(self) -> float:
        """Divide errors by spreads."""


def draw_calibration(panels: Sequence[DrawnCalibration], picture: str | PathLike[str]) -> None:
    """Draw root mean square errors against spreads in bins, logarithmically, beside the diagonal.

    Parameters
    ----------
    panels : sequence of DrawnCalibration
        One panel each.
    picture : str or path
        PNG to write.
    """
    figure = Figure(figsize=(4.4 * len(panels), 4.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_panel(axes, panel)
    figure.savefig(picture, dpi=120)


def _draw_panel(axes: Axes, panel: DrawnCalibration) -> None:
    """Draw one panel, a square with the same limits and ticks both ways."""
    bins = [one for one in panel.bins() if one.error > 0]
    x, y = np.array([one.spread for one in bins]), np.array([one.error for one in bins])
    bars = np.array([one.uncertainty for one in bins])
    low, high = min(x.min(), y.min()) / 1.6, max(x.max(), y.max()) * 1.6
    ends, ratio = np.array([low, high]), panel.ratio()
    axes.loglog(ends, ends, color="black", lw=0.9, label="error = spread")
    axes.loglog(ends, ratio * ends, color="tab:gray", lw=1.1, ls="--", label=f"error = {ratio:.2g} spread")
    axes.errorbar(x, y, np.minimum(bars, 0.9 * y), fmt="o", ms=4.5, lw=1.1, color="tab:blue", label="bins")
    unit = panel.unit.replace("_per_A", "/Å").replace("_per_", "/")
    axes.set(xlim=(low, high), ylim=(low, high), title=panel.title)
    axes.set(xlabel=f"spread of the committee ({unit})", ylabel=f"root mean square error ({unit})")
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _MANY_DECADES else (1,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right" if ratio > 1 else "upper left", fontsize="small")
