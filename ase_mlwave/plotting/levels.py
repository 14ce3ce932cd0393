"""Orbital energies side by side."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from ase.calculators.calculator import InputError
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

__all__ = ["plot_levels"]

#: Half the length of a level; columns are one apart.
_HALF = 0.3
_OCCUPIED, _EMPTY = "#20406e", "#9aa7b8"


def plot_levels(
    levels: Mapping[str, ArrayLike], n_occupied: int, *, n_shown: int = 6, axes: Axes | None = None
) -> Axes:
    """Draw the orbital energies nearest to the gap, of one molecule by several methods, and the gaps.

    Parameters
    ----------
    levels : mapping of str to array_like, (M,)
        Name of a method -> orbital energies, ascending, eV; one column each, corresponding levels joined.
    n_occupied : int
        Doubly occupied orbitals.
    n_shown : int
        Occupied orbitals that are drawn at most; of the empty ones half as many.
    axes : matplotlib Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If a method has no occupied or no empty orbital.
    """
    axes = axes or Figure(figsize=(3.6, 5.0), layout="constrained").subplots()
    rows = {name: np.asarray(values, dtype=np.float64) for name, values in levels.items()}
    for name, values in rows.items():
        if not 0 < n_occupied < len(values):
            raise InputError(f"n_occupied is {n_occupied}, but {name} has {len(values)} orbitals: there is no gap")
    shown = slice(max(0, n_occupied - n_shown), n_occupied + max(1, n_shown // 2))
    for column, values in enumerate(rows.values()):
        for index, energy in enumerate(values[shown], start=shown.start):
            colour = _OCCUPIED if index < n_occupied else _EMPTY
            axes.hlines(energy, column - _HALF, column + _HALF, color=colour, lw=2)
        homo, lumo = values[n_occupied - 1 : n_occupied + 1]
        axes.annotate("", (column, lumo), (column, homo), arrowprops={"arrowstyle": "<->", "color": "0.3", "lw": 0.8})
        box = {"fc": "w", "ec": "none", "pad": 1}
        axes.text(column, 0.5 * (homo + lumo), f"{lumo - homo:.2f} eV", ha="center", va="center", fontsize=9, bbox=box)
    columns = list(rows.values())
    for column, (left, right) in enumerate(pairwise(columns)):
        for pair in zip(left[shown], right[shown], strict=False):
            axes.plot([column + _HALF, column + 1 - _HALF], pair, color="0.7", lw=0.7, ls=":")
    axes.set_xticks(range(len(rows)), list(rows))
    axes.set(xlim=(-0.5, len(rows) - 0.5), ylabel="orbital energy (eV)")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    return axes
