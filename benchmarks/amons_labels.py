"""Amons labelled by a model: what labels cost and how wrong they are, beside those of the method itself.

    python -m benchmarks.amons_labels --output results --quick
    python -m benchmarks.amons_labels nicotinamide --max-heavy 5 --copies 8 --output results

For each query the same amons and displaced copies are labelled twice, by the model and by the method that it was made
for; a model of amons is fitted to either, and both, and the model that labelled, are compared with the method at
geometries of the query (dynamics of GFN2-xTB at 300 K). Labels of the method, with the CPU-seconds that each has taken,
stay in databases in the output folder: a run that was stopped goes on, and the next one with other weights pays for the
model's labels alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.learning.settings import Displacements
from ase_mlwave.reference.dynamics import sample_langevin
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.reference.sampling import level_calculator
from ase_mlwave.systems.system import System
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR
from benchmarks.common import command_line, markdown_table, one_thread, positive, relaxed, write_json
from benchmarks.references import label

QUERIES = {"lactic acid": "CC(O)C(=O)O", "GABA": "NCCCC(=O)O", "nicotinamide": "NC(=O)c1cccnc1"}
#: Entry of ``info``: what a label has taken, CPU-seconds of its thread.
_SECONDS = "cpu_seconds"
#: Largest force of the query's minimum, eV/Angstrom, and the steps that it may take.
_FMAX, _STEPS = 0.02, 500


class Timed(LevelOfTheory):
    """A level that notes what each label takes, in ``info``; else the same."""

    def __init__(self, level: LevelOfTheory) -> None:
        self.level = level

    @property
    def name(self) -> str:
        """That of the level."""
        return self.level.name

    @property
    def is_fast(self) -> bool:
        """As the level is."""
        return self.level.is_fast

    @property
    def of_free_atoms(self) -> LevelOfTheory:
        """As of the level."""
        atomic = self.level.of_free_atoms
        return self if atomic == self.level else atomic

    def settings(self) -> dict[str, Any]:
        """Return those of the level."""
        return self.level.settings()

    def load(self) -> None:
        """Load the program."""
        self.level.load()

    def check(self, system: System) -> None:
        """Refuse what the level refuses."""
        self.level.check(system)

    def label(self, molecule: Record | Atoms) -> Record:
        """Label a molecule, and note the time."""
        start = time.thread_time()
        found = self.level.label(molecule)
        return found.with_info(**{_SECONDS: time.thread_time() - start})


def study(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Label a query's amons by both levels, and measure."""
    model, method = (Timed(LevelOfTheory.parse(text)) for text in (chosen.reference, chosen.level))
    query, thermal = geometries(QUERIES[name], chosen)
    exact = [found for found in label(thermal, chosen.output / "queries.db", method) if found is not None]
    found, records, times = {}, {}, {}  # by what has labelled: "model" or "method"
    for key, level in (("model", model), ("method", method)):
        start = time.process_time()
        calc = AmonsCalculator.for_query(
            atoms_from_record(query),
            reference=level,
            max_heavy=chosen.max_heavy,
            database=chosen.output / f"amons-{level.name.replace(' ', '_').replace('/', '_')}.db",
            displaced=Displacements(number=chosen.copies) if chosen.copies else 0,
            uncertainty="none",
        )
        assert calc.study is not None
        times[f"amons from the {key}: all of the last run (CPU-s)"] = time.process_time() - start
        records[key] = {record.geometry_hash(): record for record in calc.study.records}
        structures = [atoms_from_record(record) for record in exact]
        found[key] = [(r["energy"] / HARTREE, r["forces"]) for r in calc.predict(structures)]
    pairs = [(records["model"][key], records["method"][key]) for key in records["model"] if key in records["method"]]
    own = [model.label(record) for record in exact]
    result: dict[str, Any] = {"query": name, "heavy atoms": int((query.numbers > 1).sum()), "labels": len(pairs)}
    result |= {
        f"label, {key} (CPU-s)": _seconds(side) for key, side in zip(records, zip(*pairs, strict=True), strict=True)
    }
    result |= _errors("labels", [_answer(one) for one, _ in pairs], [other for _, other in pairs])
    result["forces (meV/A)"] = 1e3 * float(np.abs(np.concatenate([_answer(one)[1] for one in exact])).mean())
    result |= _errors("query, amons from the model", found["model"], exact)
    result |= _errors("query, amons from the method", found["method"], exact)
    result |= _errors("query, the model itself", [_answer(one) for one in own], exact)
    result |= {f"query, {key} (CPU-s)": _seconds(side) for key, side in (("model", own), ("method", exact))}
    return result | times


def geometries(smiles: str, chosen: argparse.Namespace) -> tuple[Record, list[Record]]:
    """Return a query's minimum and thermal geometries, by GFN2-xTB."""
    fast = LevelOfTheory.parse("gfn2-xtb")
    start = from_smiles(smiles)
    minimum = relaxed(atoms_from_record(start), level_calculator(fast, start), _FMAX, _STEPS)
    minimum.calc = None
    record = record_from_atoms(minimum)
    return record, sample_langevin(record, level_calculator(fast, record), [300.0], chosen.geometries, chosen.seed)


def _answer(record: Record) -> tuple[float, Any]:
    """Return the energy, Hartree, and the forces, eV/Angstrom, of a labelled record."""
    assert record.energy is not None
    assert record.forces is not None
    return record.energy, record.forces * HARTREE_PER_BOHR


def _errors(what: str, found: Sequence[tuple[float, Any]], exact: Sequence[Record]) -> dict[str, float]:
    """Compare energies, as they are and, as relaxations and dynamics see them, about their mean error; and forces."""
    answers = [_answer(record) for record in exact]
    energies = 1e3 * HARTREE * np.array([ours[0] - theirs[0] for ours, theirs in zip(found, answers, strict=True)])
    forces = np.concatenate([ours[1] - theirs[1] for ours, theirs in zip(found, answers, strict=True)])
    return {
        f"{what}: energy (meV)": float(np.abs(energies).mean()),
        f"{what}: energy about its mean error (meV)": float(np.abs(energies - energies.mean()).mean()),
        f"{what}: force (meV/A)": 1e3 * float(np.abs(forces).mean()),
    }


def _seconds(records: Sequence[Record]) -> float:
    return float(np.mean([record.info[_SECONDS] for record in records]))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Write figures as Markdown, a column a query."""
    columns = [result["query"] for result in results]
    keys = [key for key in results[0] if key != "query"]
    values = [[f"{r[key]:.3g}" if isinstance(r[key], float) else str(r[key]) for r in results] for key in keys]
    return markdown_table([["figure", *columns], *([key, *row] for key, row in zip(keys, values, strict=True))])


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("amons_labels", __doc__, output=..., max_heavy=4, seed=...)
    parser.add_argument("queries", nargs="*", metavar="QUERY", help=f"of {', '.join(QUERIES)} (default: all)")
    parser.add_argument("--reference", default="phisnet-chno", help="the model that labels")
    parser.add_argument("--level", default="pbe/def2-svp", help="the method")
    parser.add_argument("--copies", type=int, default=4, help="displaced copies of every amon")
    parser.add_argument("--geometries", type=positive(int), default=5, help="of the query")
    parser.add_argument("--quick", action="store_true", help="small amons, one copy, two geometries: minutes")
    chosen = parser.parse_args(words)
    unknown = [name for name in chosen.queries if name not in QUERIES]
    if unknown:
        parser.error(f"{unknown[0]!r} is no query of this benchmark; they are {', '.join(QUERIES)}")
    if chosen.quick:
        chosen.max_heavy, chosen.copies, chosen.geometries = 3, 1, 2
    chosen.output.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with one_thread():
        for name in chosen.queries or QUERIES:
            results.append(study(name, chosen))
            write_json(chosen.output / "amons_labels.json", results)
    Console(soft_wrap=True).print(table(results), highlight=False, markup=False)


if __name__ == "__main__":
    main()
