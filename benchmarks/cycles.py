"""Count SCF cycles and seconds from PySCF's guess and from a model's, by size of molecule.

    python -m benchmarks.cycles phisnet-chno --held-out datasets/chno_matrices_0?.npz --count 20
    python -m benchmarks.cycles phisnet-chno --held-out datasets/chno_matrices_0?.npz --count 20 --precondition both
    python -m benchmarks.cycles phisnet-chno --conformers ../shared/data/conformers_chno_dev.npz --atoms 15 40
    python -m benchmarks.cycles phisnet-chno --names CO O3 N2 CO2 N2O CH3NO2 CH2_s1A1d HCN H2O2 H2 NCCN H2CCO

Molecules are those whose sum formulas are held out (`formula_split`: none of their isomers was trained on), drawn
evenly from small to large, first conformers of drug-like molecules, the smallest first, and molecules that ASE knows by
name (`ase.build.molecule`), of which each has a line; all that are given.
A guess costs the Fock matrices that it builds, which count as cycles, and its seconds, the prediction included. Where
the model hands over, its guess is PySCF's and takes as many cycles. Either guess may start a preconditioned SCF
(`ase_mlwave.precondition`), whose set-up counts in seconds. What was converged is kept in the output folder,
PySCF's own runs for any model: a run that was broken off goes on, and a further model costs its own runs.
"""

from __future__ import annotations

import argparse
import hashlib
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.collections import g2
from pyscf import lib

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.splits import formula_split
from ase_mlwave.quantum.preconditioner import precondition
from benchmarks.common import (
    bar,
    command_line,
    existing,
    markdown_table,
    one_thread,
    picture,
    positive,
    read_json,
    rich_table,
    write_json,
)
from benchmarks.conformer_set import read_conformers
from benchmarks.warm_start import LEVELS, unconverged

#: Atoms of the largest molecule of each class but the last.
_CLASSES = (7, 14, 20, 30, 40)
#: Energies of the same state differ by less, Hartree.
_SAME = 1e-6
#: One SCF: cycles, seconds of the CPU and of the clock, energy, whether it converged; of a model whether it served.
Run = dict[str, Any]


def held_out(files: Sequence[Path], count: int) -> list[Atoms]:
    """Draw molecules of the test split, evenly from small to large; of one formula and kind the first."""
    unique: dict[tuple[str, str], Any] = {}
    for file in files:
        for record in read_dataset(file):
            if formula_split(record) == "test":
                unique.setdefault((record.formula, str(record.info.get("kind", ""))), record)
    ordered = sorted(unique.values(), key=lambda record: (len(record), record.formula))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [atoms_from_record(ordered[place]) for place in places]


def first_conformers(file: Path, count: int, smallest: int, largest: int) -> list[Atoms]:
    """Take the first conformer of each molecule of these numbers of atoms, the smallest first."""
    fitting = [one.structures[0] for one in read_conformers(file) if smallest <= one.n_atoms <= largest]
    return sorted(fitting, key=len)[:count]


def converged(atoms: Atoms, level: str, diis_start: int | None, guess: Callable[[Any], Any]) -> Run:
    """Run one SCF from a guess; what the guess builds and takes counts. Without ``diis_start`` it is preconditioned."""
    solver = unconverged(atoms, level)
    if diis_start is None:
        solver = precondition(solver)
    else:
        solver.diis_start_cycle = diis_start
    cpu, wall = time.process_time(), time.perf_counter()
    with mock.patch.object(solver, "get_veff", wraps=solver.get_veff) as build:
        density = guess(solver)
        builds = build.call_count
    solver.kernel(dm0=density)
    return {
        "cycles": int(solver.cycles) + builds,
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "energy": float(solver.e_tot),
        "converged": bool(solver.converged),
    }


def model_guess(calculator: PhiSNetCalculator) -> Callable[[Any], Any]:
    """Return the model's guess; where it hands over, that is an `InputError`."""

    def guess(solver: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="the model cannot guess")
            return calculator.initial_guess(solver)

    return guess


class Kept:
    """Runs by what was converged, in a file that is written after each."""

    def __init__(self, path: Path) -> None:
        self.path, self.runs = path, read_json(path, {})

    def get(self, key: str, run: Callable[[], Run]) -> Run:
        """Return what is known, or run it."""
        if key not in self.runs:
            self.runs[key] = run()
            write_json(self.path, self.runs)
        return dict(self.runs[key])


def compare(atoms: Atoms, calculator: PhiSNetCalculator, name: str, chosen: argparse.Namespace, kept: Kept) -> Run:
    """Converge one molecule from both guesses: what is known of the first is not run again."""
    content = np.round(atoms.positions, 8).tobytes() + atoms.numbers.tobytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    starts = [None if chosen.precondition in some else chosen.diis_start for some in (["both"], ["both", "model"])]
    keys = [f"{chosen.level}, {'preconditioned' if s is None else f'DIIS from {s}'}, {digest}" for s in starts]
    own: Callable[[Any], Any] = lambda solver: solver.get_init_guess(solver.mol, solver.init_guess)  # noqa: E731
    cold = kept.get(keys[0], lambda: converged(atoms, chosen.level, starts[0], own))

    def served() -> Run:
        try:
            return {**converged(atoms, chosen.level, starts[1], model_guess(calculator)), "served": True}
        except (UserWarning, InputError) as reason:
            return {"served": False, "reason": str(reason)}

    warm = kept.get(f"{keys[1]}, {name}", served)
    if not warm["served"]:
        warm = {**kept.get(keys[1], lambda: converged(atoms, chosen.level, starts[1], own)), **warm}
    formula = atoms.get_chemical_formula()
    return {"formula": formula, "n_atoms": len(atoms), "group": atoms.info["group"], "cold": cold, "warm": warm}


def rows_of(runs: Sequence[Run]) -> list[list[str]]:
    """Sum up each class of sizes."""
    head = ["atoms", "molecules", "served", "cycles, PySCF", "cycles, model", "saved, %", "slower"]
    rows = [[*head, "another state", "CPU s, PySCF", "CPU s, model"]]
    for group in [*dict.fromkeys(run["group"] for run in runs), "all"]:
        chosen = [run for run in runs if group in (run["group"], "all")]
        bounds = [(0, np.inf)] if group == "all" else list(zip((0, *_CLASSES), (*_CLASSES, np.inf), strict=True))
        for low, high in bounds:
            part = [run for run in chosen if low < run["n_atoms"] <= high]
            if part:
                sizes = [run["n_atoms"] for run in part]
                rows.append([f"{group}, {min(sizes)} to {max(sizes)}", *_row(part)])
    return rows


def _row(part: Sequence[Run]) -> list[str]:
    cold, warm = (np.array([[run[way]["cycles"], run[way]["cpu"]] for run in part]) for way in ("cold", "warm"))
    served = sum(run["warm"]["served"] for run in part)
    elsewhere = sum(abs(run["cold"]["energy"] - run["warm"]["energy"]) > _SAME for run in part)
    (cycles, seconds), (fewer, quicker) = cold.mean(0), warm.mean(0)
    slower = int((warm[:, 0] > cold[:, 0]).sum())
    numbers = [f"{cycles:.2f}", f"{fewer:.2f}", f"{100 * (1 - fewer / cycles):.0f}", f"{slower}", f"{elsewhere}"]
    return [str(len(part)), str(served), *numbers, f"{seconds:.1f}", f"{quicker:.1f}"]


def rows_by_molecule(runs: Sequence[Run]) -> list[list[str]]:
    """List single molecules, with whose guess the model handed over."""
    head = ["molecule", "cycles, PySCF", "cycles, model", "guess"]
    return [head] + [
        [
            run["formula"],
            *(str(run[way]["cycles"]) for way in ("cold", "warm")),
            "model's" if run["warm"]["served"] else "PySCF's",
        ]
        for run in runs
    ]


def draw(runs: Sequence[Run], path: Path) -> None:
    """Show what every molecule saves against its number of atoms."""
    with picture(path, (6.0, 3.6)) as axes:
        for group in dict.fromkeys(run["group"] for run in runs):
            part = [run for run in runs if run["group"] == group]
            saved = [100 * (1 - run["warm"]["cycles"] / run["cold"]["cycles"]) for run in part]
            axes.scatter([run["n_atoms"] for run in part], saved, s=22, alpha=0.7, label=group)
        axes.axhline(0, color="0.6", linewidth=1)
        axes.set(xlabel="atoms", ylabel="SCF cycles saved, %")
        axes.legend(frameon=False)


def main(words: Sequence[str] | None = None) -> list[Run]:
    """Count cycles; print a table; write cycles.md, cycles.json and cycles.png."""
    parser = command_line("cycles", __doc__, output=Path("runs/cycles"))
    parser.add_argument("model", help="name in the zoo or folder")
    parser.add_argument("--held-out", type=existing, nargs="+", default=[], metavar="FILE", help="data sets")
    parser.add_argument("--conformers", type=existing, metavar="FILE", help="a set of conformers")
    parser.add_argument("--names", nargs="+", default=[], metavar="NAME", help="molecules that ASE knows")
    parser.add_argument("--count", type=positive(int), default=20, help="molecules of each at most")
    parser.add_argument("--atoms", type=positive(int), nargs=2, default=(15, 40), help="of conformers")
    parser.add_argument("--level", choices=list(LEVELS), default="RKS PBE/def2-SVP", metavar="LEVEL")
    parser.add_argument("--diis-start", type=int, default=1, help="PySCF's diis_start_cycle, of both; its default is 1")
    parser.add_argument(
        "--precondition", choices=("none", "model", "both"), default="none", help="SCFs that are preconditioned"
    )
    chosen = parser.parse_args(words)
    if unknown := sorted(set(chosen.names) - set(g2.names)):
        parser.error(f"ASE knows no molecules {', '.join(unknown)}. Those that it knows: {', '.join(g2.names)}")
    drawn = {"held-out formulas": held_out(chosen.held_out, chosen.count) if chosen.held_out else []}
    if chosen.conformers:
        drawn["drug-like molecules"] = first_conformers(chosen.conformers, chosen.count, *chosen.atoms)
    drawn["by name"] = [molecule(name) for name in chosen.names]
    structures = [atoms for group, some in drawn.items() for atoms in some if not atoms.info.update(group=group)]
    if not structures:
        raise SystemExit("nothing to measure: give --held-out, --conformers or --names")
    lib.num_threads(1)
    with one_thread(), bar() as progress:
        calculator, kept = PhiSNetCalculator(chosen.model), Kept(chosen.output / "kept.json")
        member = calculator.members[0]
        name = f"{member.config.weights_sha256[:16]} {member.config.settings.get('overlap_penalty', 0)}"
        tracked = progress.track(structures, description="molecules")
        runs = [compare(atoms, calculator, name, chosen, kept) for atoms in tracked]
    rows = rows_of(runs)
    Console().print(rich_table(rows, f"SCF cycles, {chosen.level}, one thread"))
    if named := [run for run in runs if run["group"] == "by name"]:
        Console().print(rich_table(rows_by_molecule(named)))
    settings = {"level": chosen.level, "diis_start": chosen.diis_start, "preconditioned": chosen.precondition}
    write_json(chosen.output / "cycles.json", {**settings, "runs": runs})
    (chosen.output / "cycles.md").write_text(markdown_table(rows) + "\n", encoding="utf-8")
    draw(runs, chosen.output / "cycles.png")
    return runs


if __name__ == "__main__":
    main()
