"""The table and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from matplotlib.lines import Line2D

from benchmarks.common import picture, plain_numbers
from benchmarks.fine_tuning.runs import Figures

#: Program -> molecule -> figures, as `FIGURES` has them.
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
    Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")
)
#: Heading -> figure and its format.
COLUMNS = {
    "tested on": ("test", ".0f"),
    "H µHa": ("hamiltonian_mae_uHa", ".0f"),
    "occ. µHa": ("occupied_energies_mae_uHa", ".0f"),
    "orb. %": ("orbital_similarity_percent", ".2f"),
    "E meV": ("functional_energy_mae_meV", ".2f"),
    "F meV/Å": ("functional_forces_mae_meV_per_A", ".1f"),
    "cycles": ("scf_cycles_model_mean", ".1f"),
    "CPU-min": ("cpu_minutes", ".1f"),
}


def rows(results: Mapping[str, Sequence[Figures]]) -> list[list[str]]:
    """Write a line for each model of each molecule, and for what is published; the first line names the columns."""
    cells = [["molecule", "learned from", *COLUMNS]]
    for name, found in results.items():
        cold = [one["scf_cycles_minao_mean"] for one in found if "scf_cycles_minao_mean" in one]
        cells += [[name, f"{one['geometries']:.0f}" if one["geometries"] else "others", *_line(one)] for one in found]
        if cold:
            cells.append([name, "PySCF's guess", *("" for _ in range(6)), f"{cold[0]:.1f}", ""])
        for program, molecules in PUBLISHED.items():
            if name in molecules:
                cells.append([name, f"{program}, {molecules[name]['geometries']:,}", *_line(molecules[name])])
    return cells


def _line(figures: Mapping[str, float]) -> list[str]:
    return [format(figures[key], style) if figures.get(key) else "" for key, style in COLUMNS.values()]


def draw(results: Mapping[str, Sequence[Figures]], path: Path) -> None:
    """Plot errors of H and of forces against the number of geometries; a colour a molecule, a symbol a program."""
    panels = {"hamiltonian_mae_uHa": "error of H (µHa)", "functional_forces_mae_meV_per_A": "error of forces (meV/Å)"}
    symbols = dict(zip(PUBLISHED, "*sd", strict=True))
    with picture(path, (9.0, 4.4), panels=len(panels), dpi=150) as axes:
        for axis, (key, label) in zip(axes, panels.items(), strict=True):
            for k, (name, found) in enumerate(results.items()):
                color = f"C{k}"
                tuned = [(one["geometries"], one[key]) for one in found if one["geometries"]]
                axis.plot(*zip(*tuned, strict=True) if tuned else ([], []), "o-", color=color)
                for value in (one[key] for one in found if not one["geometries"]):
                    axis.axhline(value, color=color, linestyle="--", linewidth=1)
                for program, marker in symbols.items():
                    theirs = PUBLISHED[program].get(name, {})
                    if key in theirs:
                        style = {"color": color, "markersize": 9, "fillstyle": "none"}  # values lie on one another
                        axis.plot(theirs["geometries"], theirs[key], marker, **style)
            axis.margins(x=0.15)
            axis.set(xscale="log", yscale="log", xlabel="training geometries of the molecule", ylabel=label)
            plain_numbers(axis.xaxis)
            plain_numbers(axis.yaxis)
        handles = [Line2D([], [], color=f"C{k}", linewidth=4, label=name) for k, name in enumerate(results)]
        handles.append(Line2D([], [], color="0.4", marker="o", label="fine-tuned"))
        handles.append(Line2D([], [], color="0.4", linestyle="--", label="general model"))
        shown = [program for program in symbols if PUBLISHED[program].keys() & results.keys()]
        empty = {"color": "0.4", "linestyle": "", "markersize": 9, "fillstyle": "none"}
        handles += [Line2D([], [], marker=symbols[program], label=program, **empty) for program in shown]
        axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=(len(handles) + 1) // 2, frameon=False)
