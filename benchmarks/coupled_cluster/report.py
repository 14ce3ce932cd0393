"""Tables and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import picture, plain_numbers

__all__ = ["draw", "learning_rows", "property_rows", "vibration_rows"]


def learning_rows(results: Sequence[Mapping[str, Any]], models: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Write a line for each learner and number of geometries, and for each model that there was."""
    cells = [["learner", "geometries", "E meV", "median", "F meV/Å", "median", "CPU-min"]]
    others = [{"learner": name, "points": "", "cpu_minutes": None, **one} for name, one in models.items()]
    for one in [*results, *others]:
        errors = [one[key] for key in ("energy_mae_meV", "energy_median_meV")]
        forces = [one[key] for key in ("forces_mae_meV_per_A", "forces_median_meV_per_A")]
        figures = [f"{value:.2f}" for value in errors] + [f"{value:.1f}" for value in forces]
        minutes = "" if one["cpu_minutes"] is None else f"{one['cpu_minutes']:.1f}"
        cells.append([one["learner"], str(one["points"]), *figures, minutes])
    return cells


def property_rows(results: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Write a line for each method."""
    cells = [["method", "dipole D", "HOMO eV", "three levels eV", "with sign", "electrons elsewhere"]]
    for name, one in results.items():
        levels = [f"{one['homo_eV']:.2f}", f"{one['orbitals_eV']:.2f}", f"{one['orbitals_signed_eV']:+.2f}"]
        cells.append([name, f"{one['dipole_D']:.3f}", *levels, f"{one['displaced_electrons']:.3f}"])
    return cells


def vibration_rows(results: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Write a line for each method: geometry, frequencies, intensities, and the largest deviation from the first."""
    cells = [["method", "r Å", "angle °", "dipole D", "frequencies 1/cm", "intensities", "off by 1/cm"]]
    exact = np.array(next(iter(results.values()))["frequencies_cm"])
    for name, one in results.items():
        frequencies = np.array(one["frequencies_cm"])
        listed = ", ".join(f"{value:.0f}" for value in frequencies)
        intensities = ", ".join(f"{value:.2f}" for value in one["intensities"])
        geometry = [f"{one['distance_A']:.4f}", f"{one['angle_deg']:.2f}", f"{one['dipole_D']:.3f}"]
        cells.append([name, *geometry, listed, intensities, f"{np.abs(frequencies - exact).max():.1f}"])
    return cells


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot errors of energies and forces against the number of geometries."""
    panels = {"energy_mae_meV": "error of energies (meV)", "forces_mae_meV_per_A": "error of forces (meV/Å)"}
    with picture(path, (9.0, 4.2), panels=len(panels), dpi=150) as axes:
        for axis, (key, label) in zip(axes, panels.items(), strict=True):
            for name in dict.fromkeys(one["learner"] for one in results):
                points = [(one["points"], one[key]) for one in results if one["learner"] == name]
                axis.plot(*zip(*points, strict=True), "o-", label=name)
            axis.set(xscale="log", yscale="log", xlabel="training geometries", ylabel=label)
            plain_numbers(axis.xaxis)
            plain_numbers(axis.yaxis)
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
