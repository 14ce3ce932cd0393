"""The pictures of the demonstration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["draw_cycles", "draw_relaxations", "draw_trajectory"]

Array = NDArray[np.float64]


def draw_relaxations(energies: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the energies (eV) of each method, above its own minimum, against the step, as PNG."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, values), marker in zip(energies.items(), "osx^v", strict=False):
        above = 1e3 * (np.array(values) - min(values))
        axes.plot(above, marker=marker, ms=4, lw=1.2, label=name)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set(xlabel="BFGS step", ylabel="energy above the minimum (meV)", title="Relaxation of a distorted water")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def draw_trajectory(time: Array, potential: Array, kinetic: Array, path: Path) -> None:
    """Draw potential, kinetic and total energy (T,), eV, along a trajectory against the time (T,), ps, as PNG."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    total = potential + kinetic
    zero = total.mean()
    upper.plot(time, 1e3 * (potential - potential.min()), lw=1, label="potential")
    upper.plot(time, 1e3 * kinetic, lw=1, label="kinetic")
    upper.set(ylabel="meV", title="Dynamics at constant energy")
    upper.legend(frameon=False, ncols=2)
    lower.plot(time, 1e3 * (total - zero), lw=1, color="k")
    lower.set(xlabel="time (ps)", ylabel="total, meV\nfrom its mean")
    figure.savefig(path, dpi=130)


def draw_cycles(by_guess: Mapping[str, Sequence[int]], path: Path) -> None:
    """Draw how many molecules need how many SCF cycles, by initial guess, as PNG."""
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    top = max(max(counts) for counts in by_guess.values())
    width = 0.8 / len(by_guess)
    for k, (name, counts) in enumerate(by_guess.items()):
        place = np.arange(1, top + 1) + (k - (len(by_guess) - 1) / 2) * width
        label = f"{name} (mean {np.mean(counts):.1f})"
        axes.bar(place, [list(counts).count(n) for n in range(1, top + 1)], width, label=label)
    axes.set(xlabel="SCF cycles to 1e-9 Hartree", ylabel="molecules", title="SCF cycles by initial guess")
    axes.set_xticks(range(1, top + 1))
    axes.legend(frameon=False, title="guess")
    figure.savefig(path, dpi=130)
