"""Tables of learning curves, for the terminal and as Markdown, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.amons.classes import CLASSES, Curve, SystemClass
from benchmarks.common import markdown_table, picture, plain_numbers

#: Systems of a class up to which each has a row of its own; a colour and a name; a grey line.
_LISTED, _NAMED, _SHOWN = 40, 8, 60
#: Errors below this are drawn here, kcal/mol.
_LEAST = 0.01


def errors_by_size(curves: Sequence[Curve]) -> dict[int, list[float]]:
    """Collect absolute errors over systems, kcal/mol per unit, by the size of the amons, ascending."""
    at: dict[int, list[float]] = {}
    for curve in curves:
        for size, error in zip(curve.sizes, curve.errors_kcal, strict=True):
            at.setdefault(size, []).append(abs(error))
    return dict(sorted(at.items()))


def summary_rows(results: Mapping[str, Sequence[Curve]]) -> list[list[str]]:
    """Write the table of all classes."""
    rows = [["class", "systems", "amons, heavy atoms", "mean absolute error", "median", "largest", "target", "unit"]]
    for name, curves in results.items():
        kind = CLASSES[name]
        errors, size, figures = np.abs(kind.errors(curves)), "", ["", "", ""]
        if len(errors):
            size = str(min(kind.judged_at or 99, max(curve.sizes[-1] for curve in curves if curve.sizes)))
            figures = [f"{value:.2f}" for value in (errors.mean(), np.median(errors), errors.max())]
        rows.append([kind.title, str(len(curves)), size, *figures, f"{kind.target:g}", kind.per])
    return rows


def curve_rows(curves: Sequence[Curve]) -> list[list[str]]:
    """Write the table of a class: one row per system, or one for all."""
    points = errors_by_size(curves)
    rows = [["system", "atoms", "amons", *(f"k = {size}" for size in points)]]
    for curve in curves if len(curves) <= _LISTED else ():
        errors = dict(zip(curve.sizes, curve.errors_kcal, strict=True))
        cells = [f"{errors[size]:.2f}" if size in errors else "-" for size in points]
        rows.append([curve.system, str(curve.n_atoms or "-"), str(max(curve.n_amons, default=0)), *cells])
    atoms = np.mean([curve.n_atoms for curve in curves]) if curves else 0
    amons = np.mean([max(curve.n_amons, default=0) for curve in curves]) if curves else 0
    means = [f"{np.mean(errors):.2f}" if 2 * len(errors) > len(curves) else "-" for errors in points.values()]
    return [*rows, [f"mean absolute, {len(curves)}", f"{atoms:.0f}", f"{amons:.0f}", *means]]


def markdown(results: Mapping[str, Sequence[Curve]]) -> str:
    """Write docs/amons.md, with pictures beside it in ``amons/``."""
    parts = [_INTRODUCTION, markdown_table(summary_rows(results))]
    for name, curves in results.items():
        kind = CLASSES[name]
        parts.append(f"## {kind.title[0].upper()}{kind.title[1:]}\n\n{kind.systems[0].upper()}{kind.systems[1:]}.")
        parts.append(f"Predicted minus reference energy, kcal/mol a {kind.per}; k: heavy atoms of the largest amons.")
        parts.append(markdown_table(curve_rows(curves)))
        parts += [kind.notes.strip()] if kind.notes else []
        parts.append(f"![learning curves: {kind.title}](amons/{name}.png)")
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """# Large systems from small molecules

Every system of the publication (Huang and von Lilienfeld, Nat. Chem. 12, 945, 2020) at hand: energies of whole
systems, predicted from their amons alone, against the same method on the full system. Reference: GFN2-xTB unless said.

```bash
python -m benchmarks.amons --output results --demo demo.json --qm7 qm7.npz --qm9 qm9.npz --write-docs
```

The command makes this page and its pictures; protocols are in `benchmarks/amons/classes.yaml`. Errors in kcal/mol."""


def draw(kind: SystemClass, curves: Sequence[Curve], path: Path) -> None:
    """Plot absolute errors of all systems of a class, their mean, and the target, as PNG."""
    with picture(path, (6.4, 4.2), dpi=95) as axes:
        _systems(axes, curves)
        means = {size: np.mean(e) for size, e in errors_by_size(curves).items() if 2 * len(e) > len(curves)}
        if len(curves) > 1 and means:
            values = np.maximum([*means.values()], _LEAST)
            axes.plot([*means], values, "ko-", linewidth=2, markersize=6, label="mean", zorder=4)
        axes.axhline(kind.target, color="0.35", linestyle="--", linewidth=1, label=f"target {kind.target:g}", zorder=1)
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.set_xlabel("heavy atoms of the largest amons")
        axes.set_ylabel(f"absolute error (kcal/mol a {kind.per})")
        axes.set_title(f"{kind.title}: {kind.systems}", fontsize=10)
        axes.legend(frameon=False, fontsize=8)


def _systems(axes: Any, curves: Sequence[Curve]) -> None:
    """Draw each system, or shade the middle half and the middle nine tenths of many."""
    if len(curves) > _SHOWN:
        at = {size: np.maximum(errors, _LEAST) for size, errors in errors_by_size(curves).items()}
        for low, high, colour in ((5, 95, "0.90"), (25, 75, "0.78")):
            edges = np.array([np.percentile(errors, [low, high]) for errors in at.values()])
            label = f"{high - low} % of {len(curves)} systems"
            axes.fill_between([*at], edges[:, 0], edges[:, 1], color=colour, linewidth=0, label=label)
        return
    named = len(curves) <= _NAMED
    for number, curve in enumerate(curves):
        style = {"color": f"C{number}", "label": curve.system, "marker": "o"} if named else {"color": "0.72"}
        axes.plot(curve.sizes, np.maximum(np.abs(curve.errors_kcal), _LEAST), linewidth=1, markersize=4, **style)
    if not named:
        axes.plot([], [], color="0.72", linewidth=1, label=f"{len(curves)} systems")
