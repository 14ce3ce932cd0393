"""The pictures of the demonstration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ase_mlwave.plotting.levels import plot_levels
from ase_mlwave.plotting.surfaces import plot_charges, plot_isosurface

__all__ = ["draw_cycles", "draw_orbitals", "draw_relaxations", "draw_trajectory"]

Array = NDArray[np.float64]


def draw_relaxations(energies: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the energies (eV) of each method, above its own minimum, against the step, as PNG."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, values), marker in zip(energies.items(), "osx^v", strict=False):
        above = 1e3 * (np.array(values) - min(values))
        axes.plot(above, marker=marker, ms=4, lw=1.2, label=name)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel="BFGS step", ylabel="energy above the minimum (meV)", title="Relaxation")
    axes.spines[["top", "right"]].set_visible(False)
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
    upper.set(ylabel="energy (meV)", title="Dynamics at constant energy")
    upper.legend(frameon=False, ncols=2)
    lower.plot(time, 1e3 * (total - zero), lw=1, color="k")
    lower.set(xlabel="time (ps)", ylabel="total \N{MINUS SIGN} mean\n(meV)")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def draw_cycles(by_molecule: Mapping[str, tuple[int, int]], path: Path) -> None:
    """Draw the SCF cycles of each molecule, from PySCF's own guess and from the predicted one, as PNG."""
    figure = Figure(figsize=(6.4, 1.2 + 0.42 * len(by_molecule)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(by_molecule))
    for k, (name, colour) in enumerate((("PySCF's own guess", "0.72"), ("the model's density", "#149c94"))):
        counts = [cycles[k] for cycles in by_molecule.values()]
        bars = axes.barh(places + (k - 0.5) * 0.38, counts, 0.36, color=colour, label=f"{name} ({np.mean(counts):.1f})")
        axes.bar_label(bars, padding=3, fontsize=8)
    axes.set_yticks(places, list(by_molecule))
    axes.invert_yaxis()
    axes.set(xlabel="SCF cycles to 1e-9 Hartree", xmargin=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, title="initial guess (mean)", loc="outside right upper")
    figure.savefig(path, dpi=130)


def draw_orbitals(
    atoms: Atoms,
    orbital: Callable[[int, Array], Array],
    levels: Mapping[str, Array],
    charges: Array,
    path: Path,
) -> None:
    """Draw levels, frontier orbitals and charges of a closed-shell molecule, as PNG.

    Parameters
    ----------
    atoms : Atoms
        The molecule.
    orbital : callable
        Index and points (G, 3), Angstrom -> (G,), Angstrom^(-3/2).
    levels : mapping of str to ndarray, (M,)
        Name of a method -> orbital energies, eV; the first is that of ``orbital``.
    charges : ndarray, (N,)
        e.
    path : Path
        Picture to write.
    """
    n_occupied = int(atoms.numbers.sum()) // 2
    energies = next(iter(levels.values()))
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    left, *middle, right = figure.subplots(1, 4, width_ratios=(1.1, 1.5, 1.5, 1.5))
    plot_levels(levels, n_occupied, axes=left)
    for axes, name, index in zip(middle, ("HOMO", "LUMO"), (n_occupied - 1, n_occupied), strict=True):
        plot_isosurface(partial(orbital, index), atoms, axes=axes)
        axes.set_title(f"{name}  {energies[index]:.2f} eV".replace("-", "\N{MINUS SIGN}"))
    plot_charges(charges, atoms, axes=right)
    right.set_title("Mulliken charges (e)")
    figure.savefig(path, dpi=130)
