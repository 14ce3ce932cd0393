"""Measure our models beside others on the same molecules: one table, one picture.

    pip install 'ase-mlwave[xtb,rivals]'
    python -m benchmarks.league
    python -m benchmarks.league --only "phisnet-chno, wavefunction" amons-chno --documents

Forces of molecules of unseen formulas, conformers of drug-like molecules, relaxations of displaced molecules, cycles of
PySCF's SCF from each guess, and the time of paracetamol's energy and forces. Everything is measured against
PBE/def2-SVP, which our models aim at: the others' figures contain what their own level differs from it. Conformers are
also compared with DLPNO-CCSD(T), far above all of them. What is not installed is left out with a word. Every cell is
kept in the output folder by the contestant's weights or version: a run that was broken off goes on, and new weights
cost their own row. ``--only`` says which rows are computed now; the others are shown as they were.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from ase.calculators.calculator import BaseCalculator
from pyscf import lib

from ase_mlwave.console import Console
from benchmarks.common import (
    bar,
    command_line,
    existing,
    markdown_table,
    one_thread,
    positive,
    read_json,
    rich_table,
    write_json,
)
from benchmarks.conformer_set import read_conformers
from benchmarks.conformers import chosen_molecules
from benchmarks.cycles import Kept
from benchmarks.league import tasks
from benchmarks.league.contestants import CONTESTANTS, Contestant
from benchmarks.league.report import draw, insert, long_rows, short_rows

_DOCUMENTS = Path("docs/league.md"), Path("README.md")


class _League:
    """The structures of all tasks, and the file in which cells are kept."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.kept = Kept(chosen.output / "cells.json")
        self.records = tasks.test_molecules(chosen.data, chosen.forces)
        self.few = tasks.test_molecules(chosen.data, chosen.cycles)
        few = argparse.Namespace(random=False, molecules=chosen.rankings, conformers=3)
        self.molecules = chosen_molecules(read_conformers(chosen.conformers), few)
        self.pairs = tasks.minima(chosen.data, chosen.output / "minima.db", chosen.relaxations)

    def measure(self, one: Contestant, calculator: BaseCalculator) -> Iterator[tasks.Figures]:
        """Measure one contestant in everything that it has a part in; yield what is new after each task."""
        n_structures = sum(len(molecule.structures) for molecule in self.molecules)
        with bar() as progress:
            task = progress.add_task(one.name, total=len(self.records) + n_structures + len(self.pairs) + 1)
            cells = tasks.Cells(self.kept, one.fingerprint(), lambda: progress.advance(task))
            yield tasks.seconds(calculator, cells)
            yield tasks.cycles(one, calculator, tasks.Cells(self.kept, one.guess), self.few)
            yield tasks.conformers(None if one.is_yardstick else calculator, cells, self.molecules)
            if not one.is_yardstick:
                yield tasks.forces(calculator, cells, self.records)
                yield tasks.relaxations(calculator, cells, self.pairs)


def main(words: Sequence[str] | None = None) -> dict[str, tasks.Figures]:
    """Measure; print the table; write league.md, league.json and league.png."""
    parser = command_line("league", __doc__, output=Path("runs/league"))
    names = [one.name for one in CONTESTANTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="rows to compute")
    data = Path("datasets/chno_pbe_def2svp.npz")
    parser.add_argument("--data", type=existing, default=data, help="its test split has unseen formulas")
    conformers = Path("../shared/data/conformers_chno_dev.npz")
    parser.add_argument("--conformers", type=existing, default=conformers, help="a set of conformers")
    sizes = {"forces": 15, "rankings": 3, "relaxations": 5, "cycles": 5}
    for name, count in sizes.items():
        parser.add_argument(f"--{name}", type=positive(int), default=count, help=f"molecules, {count} by default")
    parser.add_argument(
        "--documents", action="store_true", help=f"write the table into {' and '.join(map(str, _DOCUMENTS))}"
    )
    chosen = parser.parse_args(words)
    console, lines = Console(), Console(stderr=True)
    lib.num_threads(1)
    with one_thread():
        known: dict[str, tasks.Figures] = read_json(chosen.output / "league.json", {})
        league = _League(chosen)
        for one in CONTESTANTS:
            if one.name in chosen.only:
                try:
                    calculator = one.make()
                except ImportError as error:
                    lines.print(f"{one.name} is left out: {error}")
                    continue
                known[one.name] = {}
                for figures in league.measure(one, calculator):
                    known[one.name] |= figures
                    write_json(chosen.output / "league.json", known)
        rows = [(one, known[one.name]) for one in CONTESTANTS if one.name in known]
        table = long_rows(rows)
        console.print(rich_table(table))
        (chosen.output / "league.md").write_text(markdown_table(table) + "\n", encoding="utf-8")
        draw(rows, chosen.output / "league.png")
        if chosen.documents:
            for document, shown in zip(_DOCUMENTS, (table, short_rows(rows)), strict=True):
                insert(document, shown)
            draw(rows, _DOCUMENTS[0].with_suffix(".png"))
    return known


if __name__ == "__main__":
    main()
