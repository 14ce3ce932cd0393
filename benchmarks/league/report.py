"""One table and one picture of the league."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.common import markdown_table, picture, plain_numbers
from benchmarks.conformers import REFERENCE
from benchmarks.league.contestants import Contestant
from benchmarks.league.tasks import JUDGE, Figures
from benchmarks.relaxations import CLOSE

__all__ = ["draw", "insert", "long_rows", "short_rows"]

#: A finished row: who, and what was measured.
Row = tuple[Contestant, Figures]
_PBE, _JUDGED = f"conformers, {REFERENCE}", f"conformers, {JUDGE}"
_CLOSE, _NEAR = (f"relaxations, {limit} A" for limit in CLOSE)
#: Heading -> what a row has there; the short table has those of `_SHORT`.
_COLUMNS: dict[str, Callable[[Figures], str]] = {
    "forces, meV/Å (median)": lambda f: _number(f, "forces", " ({})", "forces, median"),
    "conformers, kcal/mol": lambda f: _number(f, _PBE),
    "the same against DLPNO-CCSD(T)": lambda f: _number(f, _JUDGED),
    f"relaxations within {CLOSE[0]} ({CLOSE[1]}) Å, %": lambda f: _number(f, _CLOSE, " ({})", _NEAR),
    "SCF cycles (preconditioned)": lambda f: _number(f, "cycles", " ({})", "cycles, preconditioned"),
    "paracetamol, CPU-s": lambda f: _number(f, "seconds"),
}
_SHORT = ("forces, meV/Å (median)", "conformers, kcal/mol", "paracetamol, CPU-s")


def _number(figures: Mapping[str, float], name: str, more: str = "", other: str = "") -> str:
    """Write a figure with two digits, and another one in brackets."""
    if name not in figures:
        return ""
    return _digits(figures[name]) + (more.format(_digits(figures[other])) if more else "")


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"


def long_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Write all figures."""
    return _rows(rows, tuple(_COLUMNS))


def short_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Write what the README shows."""
    return _rows(rows, _SHORT)


def _rows(rows: Sequence[Row], columns: Sequence[str]) -> list[list[str]]:
    head = ["", "aims at", *columns]
    return [head, *([one.name, one.aims, *(_COLUMNS[name](figures) for name in columns)] for one, figures in rows)]


def insert(document: Path, rows: Sequence[Sequence[str]]) -> None:
    """Put a table between the two lines of a document that say where it stands.

    Raises
    ------
    ValueError
        If the document has no such lines.
    """
    begin, end = "<!-- league: written by `python -m benchmarks.league --documents` -->", "<!-- end of league -->"
    text = document.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document} has no lines {begin!r} and {end!r}")
    document.write_text(f"{before}{begin}\n\n{markdown_table(rows)}\n\n{end}{after}", encoding="utf-8")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw errors, shares, cycles and times; ours filled, others open."""
    panels = {
        "forces of unseen molecules\nmean error, meV/Å": ("forces", None),
        "conformers, mean error, kcal/mol\n● PBE/def2-SVP  ▲ DLPNO-CCSD(T)": (_PBE, _JUDGED),
        f"relaxations, % in PBE's minimum\n● within {CLOSE[0]} Å  ▲ within {CLOSE[1]} Å": (_CLOSE, _NEAR),
        "SCF cycles\n● plain  ▲ preconditioned": ("cycles", "cycles, preconditioned"),
        "energy and forces of\nparacetamol, CPU-s": ("seconds", None),
    }
    places = np.arange(len(rows))[::-1]
    with picture(path, (14.0, 0.36 * len(rows) + 1.5), panels=len(panels)) as axes:
        for panel, (title, names) in zip(axes, panels.items(), strict=True):
            is_linear = "%" in title or "cycles" in title
            for (one, figures), place in zip(rows, places, strict=True):
                colour = "black" if one.is_yardstick else "C0" if one.is_ours else "C1"
                for name, marker in zip(names, "o^", strict=True):
                    value = figures.get(name) if name else None
                    if value is not None and (is_linear or value > 0):
                        panel.plot(value, place, marker, color=colour, ms=7, mfc=colour if marker == "o" else "white")
            panel.set_title(title, fontsize=9)
            panel.set_ylim(-0.6, len(rows) - 0.4)
            panel.set_yticks(places, [one.name for one, _ in rows] if panel is axes[0] else [])
            panel.grid(visible=True, alpha=0.3)
            if is_linear:
                panel.set_xlim(*((0, panel.get_xlim()[1]) if "cycles" in title else (-4, 106)))
            else:
                panel.set_xscale("log")
                panel.margins(x=0.12)
                low, high = panel.get_xlim()
                panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
                panel.xaxis.set_minor_formatter(NullFormatter())
                plain_numbers(panel.xaxis)
