"""Tables of learning curves, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.table import Table

from benchmarks.amons.classes import CLASSES, SystemClass
from benchmarks.amons.curve import Curve

__all__ = ["curve_table", "markdown", "mean_errors", "summary_table"]

#: Systems of a class up to which each has a row of its own.
_LISTED = 40
_HEAD = ("class", "systems", "amons, heavy atoms", "mean absolute error", "median", "largest", "target", "unit")


def mean_errors(curves: Sequence[Curve]) -> list[tuple[int, int, float]]:
    """Average absolute errors over systems.

    Parameters
    ----------
    curves : sequence of Curve
        Of one class.

    Returns
    -------
    list of (int, int, float)
        Size of the amons, number of systems that have this point, mean absolute error in kcal/mol per unit.
    """
    at: dict[int, list[float]] = {}
    for curve in curves:
        for size, error in zip(curve.sizes, curve.errors_kcal, strict=True):
            at.setdefault(size, []).append(abs(error))
    return [(size, len(errors), float(np.mean(errors))) for size, errors in sorted(at.items())]


def _summary(kind: SystemClass, curves: Sequence[Curve]) -> list[str]:
    errors = np.abs(kind.errors(curves))
    if not len(errors):
        return [kind.title, str(len(curves)), "", "", "", "", f"{kind.target:g}", kind.per]
    size = min(kind.max_heavy or 99, max(curve.sizes[-1] for curve in curves if curve.sizes))
    figures = [f"{value:.2f}" for value in (errors.mean(), np.median(errors), errors.max())]
    return [kind.title, str(len(curves)), str(size), *figures, f"{kind.target:g}", kind.per]


def summary_table(results: Mapping[str, Sequence[Curve]]) -> Table:
    """Make the table of all classes."""
    table = Table(title="Energies of whole systems from their amons, kcal/mol")
    for number, name in enumerate(_HEAD):
        table.add_column(name, justify="left" if number in (0, 7) else "right")
    for name, curves in results.items():
        table.add_row(*_summary(CLASSES[name], curves))
    return table


def _rows(curves: Sequence[Curve]) -> list[list[str]]:
    """Write the cells of a class: one row per system, or one for all; first the names of the columns."""
    points = mean_errors(curves)
    head = ["system", "atoms", "amons", *(f"k = {size}" for size, _, _ in points)]
    rows = []
    for curve in curves if len(curves) <= _LISTED else ():
        errors = dict(zip(curve.sizes, curve.errors_kcal, strict=True))
        cells = [f"{errors[size]:.2f}" if size in errors else "-" for size, _, _ in points]
        rows.append([curve.system, str(curve.n_atoms or "-"), str(max(curve.n_amons, default=0)), *cells])
    atoms = np.mean([curve.n_atoms for curve in curves]) if curves else 0
    amons = np.mean([max(curve.n_amons, default=0) for curve in curves]) if curves else 0
    means = [f"{error:.2f}" if 2 * count > len(curves) else "-" for _, count, error in points]
    return [head, *rows, [f"mean absolute, {len(curves)}", f"{atoms:.0f}", f"{amons:.0f}", *means]]


def curve_table(kind: SystemClass, curves: Sequence[Curve]) -> Table:
    """Make the table of one class: errors against the size of the amons."""
    head, *body = _rows(curves)
    table = Table(title=f"{kind.title}: predicted minus reference energy, kcal/mol a {kind.per}")
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in body:
        table.add_row(*row)
    return table


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(results: Mapping[str, Sequence[Curve]]) -> str:
    """Write all classes as Markdown, with their plots beside it in ``amons/``."""
    summary = [list(_HEAD), *(_summary(CLASSES[name], curves) for name, curves in results.items())]
    parts = [_INTRODUCTION, _markdown_table(summary)]
    for name, curves in results.items():
        kind = CLASSES[name]
        parts.append(f"## {kind.title[0].upper()}{kind.title[1:]}\n\n{kind.systems[0].upper()}{kind.systems[1:]}.")
        parts.append(f"Predicted minus reference energy, kcal/mol a {kind.per}; k: heavy atoms of the largest amons.")
        parts.append(_markdown_table(_rows(curves)))
        parts += [kind.notes] if kind.notes else []
        parts.append(f"![learning curves: {kind.title}](amons/{name}.png)")
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """# Large systems from small molecules

Every system of the publication (Huang and von Lilienfeld, Nat. Chem. 12, 945, 2020) at hand: energies of whole
systems, predicted from their amons alone, against the same method on the full system. Reference: GFN2-xTB unless said.

```bash
python -m benchmarks.amons --output results --demo demo.json --qm7 qm7.npz --qm9 qm9.npz --write-docs
```

Errors in kcal/mol."""
