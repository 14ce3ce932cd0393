"""Infrared spectra, from lines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.calculators.calculator import InputError
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

__all__ = ["plot_spectrum"]

Array = NDArray[np.float64]

#: cm^-1: what is drawn beside the outermost lines, and the distance of points over the width of a line.
_MARGIN, _FINENESS = 300.0, 0.1
_COLOURS = ("#20406e", "#c05020", "#4a8c5c", "#8a6bb0")


def plot_spectrum(
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]], *, width: float = 20.0, axes: Axes | None = None
) -> Axes:
    """Draw infrared spectra on one scale, every second one mirrored: sticks, and Lorentzians of one width.

    Parameters
    ----------
    lines : mapping of str to (array_like, array_like)
        Name of a method -> frequencies, (K,), cm^-1, and intensities, (K,), km/mol: ``calc.infrared(atoms).lines()``.
    width : float
        Full width of a line at half its height, cm^-1.
    axes : matplotlib Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If there are no lines, or the width is not positive.

    Notes
    -----
    Wavenumbers fall from left to right, as chemists draw them. The area of a line is its intensity.
    """
    if not width > 0:
        raise InputError(f"width is {width!r}; give a positive number of 1/cm.")
    spectra = {name: (np.asarray(x, dtype=float), np.asarray(y, dtype=float)) for name, (x, y) in lines.items()}
    if not spectra or any(len(x) == 0 for x, _ in spectra.values()):
        raise InputError("there are no lines to draw; a molecule of two atoms or more has some.")
    axes = axes or Figure(figsize=(6.4, 3.6), layout="constrained").subplots()
    every = np.concatenate([x for x, _ in spectra.values()])
    grid = np.arange(max(0.0, every.min() - _MARGIN), every.max() + _MARGIN, _FINENESS * width)
    for index, (name, (x, y)) in enumerate(spectra.items()):
        sign, colour = (-1 if index % 2 else 1), _COLOURS[index % len(_COLOURS)]
        axes.plot(grid, sign * _lorentzians(grid, x, y, width), color=colour, lw=1.2, label=name)
        axes.vlines(x, 0, sign * y * 2 / (np.pi * width), color=colour, lw=0.7, alpha=0.6)
    axes.axhline(0, color="0.3", lw=0.6)
    axes.set(xlim=(grid[-1], grid[0]), xlabel="wavenumber (1/cm)", ylabel="absorption (km/mol per 1/cm)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best", fontsize="small")
    return axes


def _lorentzians(grid: Array, frequencies: Array, intensities: Array, width: float) -> Array:
    """Add up lines of unit area times their intensities, (G,)."""
    half = width / 2
    shapes = half / np.pi / ((grid[:, None] - frequencies) ** 2 + half**2)
    spectrum: Array = shapes @ intensities
    return spectrum
