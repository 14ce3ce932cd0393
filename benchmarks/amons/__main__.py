"""Predict every system of the publication on amons from its amons, and compare with the reference method.

    python -m benchmarks.amons --output results
    python -m benchmarks.amons biomolecules water --output results
    python -m benchmarks.amons --output results --write-docs

Errors are those of the whole query, against the same method on the full system. Labels of amons are kept in ASE
databases in the output folder, and so are finished curves: whatever is killed is resumed, and a class that is finished
is not run again. ``--write-docs`` writes docs/amons.md and a plot of each class from the finished
curves. Run it from the root of the repository.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ase.calculators.calculator import InputError

from ase_mlwave.console import Console
from ase_mlwave.errors import suggestion
from benchmarks.amons.builders import run
from benchmarks.amons.classes import CLASSES, Curve, read_curves, write_curves
from benchmarks.amons.report import curve_rows, draw, markdown, summary_rows
from benchmarks.common import command_line, existing, one_thread, positive, rich_table

_DOCS = Path("docs")


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line("amons", __doc__, output=..., seed=..., workers=..., max_heavy=...)
    parser.add_argument("classes", nargs="*", metavar="CLASS", help=f"of {', '.join(CLASSES)} (default: all)")
    parser.add_argument("--demo", type=existing, help="published data of phenylacetaldehyde and its amons, JSON")
    parser.add_argument("--qm7", type=existing, help="QM7 as NumPy file")
    parser.add_argument("--qm9", type=existing, help="QM9, or a part of it, as NumPy file")
    parser.add_argument("--systems", type=positive(int), help="most systems of a class (default: all)")
    parser.add_argument("--write-docs", action="store_true", help="write docs/amons.md and its plots")
    return parser.parse_args(words)


def check(chosen: argparse.Namespace) -> list[str]:
    """Refuse what cannot work before anything runs, and return the classes to run."""
    wanted = list(dict.fromkeys(chosen.classes)) or list(CLASSES)
    for name in wanted:
        if name not in CLASSES:
            raise InputError(f"{name!r} is no class of systems. {suggestion(name, CLASSES)}")
        lacking = [f"--{need}" for need in CLASSES[name].needs if getattr(chosen, need) is None]
        if lacking and not (chosen.output / f"{name}.json").is_file():
            raise InputError(f"the class {name} needs {' and '.join(lacking)}; give the files, or name other classes.")
    return wanted


def main(words: Sequence[str] | None = None) -> None:
    """Run what is not finished; print tables; write curves, plots and, if asked for, the documentation."""
    chosen, console = options(words), Console()
    with one_thread():
        wanted = check(chosen)
        chosen.output.mkdir(parents=True, exist_ok=True)
        results: dict[str, list[Curve]] = {}
        for name in wanted:
            path = chosen.output / f"{name}.json"
            console.print(f"{name}: read from {path}" if path.is_file() else f"{name} ...", style="dim")
            if not path.is_file():
                write_curves(path, run(CLASSES[name], chosen))
            results[name] = read_curves(path)
    for name, curves in results.items():
        kind = CLASSES[name]
        title = f"{kind.title}: predicted minus reference energy, kcal/mol a {kind.per}"
        console.print(rich_table(curve_rows(curves), title))
        draw(kind, curves, chosen.output / f"{name}.png")
    if chosen.write_docs:
        finished = [name for name in CLASSES if (chosen.output / f"{name}.json").is_file()]
        everything = {name: read_curves(chosen.output / f"{name}.json") for name in finished}
        (_DOCS / "amons").mkdir(parents=True, exist_ok=True)
        for name, curves in everything.items():
            draw(CLASSES[name], curves, _DOCS / "amons" / f"{name}.png")
        (_DOCS / "amons.md").write_text(markdown(everything), encoding="utf-8")
    console.print(rich_table(summary_rows(results), "Energies of whole systems from their amons, kcal/mol"))


if __name__ == "__main__":
    main()
