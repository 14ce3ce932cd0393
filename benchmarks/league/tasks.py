"""What the league measures; every cell, one contestant on one structure, is kept and is not computed again."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import BaseCalculator, CalculatorError, InputError

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import HARTREE_PER_BOHR
from benchmarks import cycles as scf
from benchmarks.common import cpu_seconds
from benchmarks.conformer_set import Conformers
from benchmarks.conformers import REFERENCE, about_mean
from benchmarks.league.contestants import YARDSTICK, Contestant
from benchmarks.references import label
from benchmarks.relaxations import CLOSE, TEMPERATURE, displaced, held_out, relax, tight

__all__ = [
    "JUDGE",
    "Cells",
    "Figures",
    "conformers",
    "cycles",
    "forces",
    "minima",
    "relaxations",
    "seconds",
    "test_molecules",
]

#: Name of a figure -> value; a contestant lacks those that it has no part in.
Figures = dict[str, float]
#: A level far above those that contestants aim at, which the file of conformers has.
JUDGE = "dlpno-ccsd(t)"
#: What is timed: paracetamol, 20 atoms.
_TIMED = "CC(=O)Nc1ccc(O)cc1"
#: Repeats that count where one takes less than this, CPU-seconds.
_QUICK, _REPEATS = 2.0, 3


class Cells:
    """Cells of one contestant in the file of all.

    Parameters
    ----------
    kept : Kept
        The file.
    name : str
        Fingerprint of the contestant, or of what several share.
    advance : callable
        Called after every cell.
    """

    def __init__(self, kept: scf.Kept, name: str, advance: Callable[[], None] = lambda: None) -> None:
        self.kept, self.name, self.advance = kept, name, advance

    def get(self, task: str, atoms: Atoms, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a cell, computed if it is not known; a calculator that gives up leaves its reason."""
        content = np.round(atoms.positions, 6).tobytes() + atoms.numbers.tobytes()

        def tried() -> dict[str, Any]:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", OutOfDomainWarning)  # the errors say how well it serves there
                    return compute()
            except CalculatorError as error:
                return {"failure": str(error)}

        cell = self.kept.get(f"{self.name}, {task}, {hashlib.sha256(content).hexdigest()[:16]}", tried)
        self.advance()
        return cell


def test_molecules(file: Path, count: int) -> list[Record]:
    """Take molecules of the test split with forces, every so many from small to large, about as many as asked for."""
    return _spread(sorted((r for r in read_dataset(file).split("test") if r.forces is not None), key=len), count)


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    return list(records[:: max(1, -(-len(records) // count))])


def forces(calculator: BaseCalculator, cells: Cells, records: Sequence[Record]) -> Figures:
    """Compare forces with the yardstick's: mean over components, and median of molecules, meV/Angstrom."""

    def error(record: Record) -> dict[str, Any]:
        atoms = atoms_from_record(record)
        atoms.calc = calculator
        labels: Any = record.forces
        return {"error": float(np.abs(1e3 * (atoms.get_forces() - HARTREE_PER_BOHR * labels)).mean())}

    found, weights = [], []
    for record in records:
        cell = cells.get("forces", atoms_from_record(record), partial(error, record))
        if "error" in cell:
            found.append(cell["error"])
            weights.append(len(record))
    if not found:
        return {}
    return {
        "forces": float(np.average(found, weights=weights)),
        "forces, median": float(np.median(found)),
        "forces, failures": float(len(records) - len(found)),
    }


def conformers(calculator: BaseCalculator | None, cells: Cells, molecules: Sequence[Conformers]) -> Figures:
    """Rank conformers: mean absolute error about each molecule's mean, kcal/mol; without a calculator the yardstick."""

    def energy(atoms: Atoms) -> dict[str, Any]:
        atoms = atoms.copy()
        atoms.calc = calculator
        return {"energy": atoms.get_potential_energy() * units.mol / units.kcal}

    errors: dict[str, list[float]] = {REFERENCE: [], JUDGE: []}
    for one in molecules:
        if calculator is None:
            known = one.energies[REFERENCE]
        else:
            found = [cells.get("energy", atoms, partial(energy, atoms)) for atoms in one.structures]
            known = np.array([cell.get("energy", np.nan) for cell in found])
        there = np.isfinite(known)
        if there.sum() > 1:
            for method, values in errors.items():
                values.append(about_mean(known[there], one.energies[method][there]))
    return {f"conformers, {method}": float(np.mean(values)) for method, values in errors.items() if values}


def minima(file: Path, cache: Path, count: int) -> list[tuple[Atoms, Atoms]]:
    """Compute the yardstick's minima that are not known yet; return them with the displaced starts."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    chosen = _spread(held_out([file], 10**6, max_heavy=4), count)
    found = label(chosen, cache, tight(LevelOfTheory.parse(YARDSTICK.lower())))
    ends = [atoms_from_record(record) for record in found if record is not None]
    return [(displaced(end, TEMPERATURE, k), end) for k, end in enumerate(ends)]


def relaxations(calculator: BaseCalculator, cells: Cells, pairs: Sequence[tuple[Atoms, Atoms]]) -> Figures:
    """Relax displaced molecules; share that ends in the yardstick's minimum, %, by the heavy atoms' deviation."""
    runs = [cells.get("relaxation", pair[0], lambda pair=pair: asdict(relax(calculator, *pair))) for pair in pairs]
    if not runs:
        return {}
    deviations = [run["heavy_atoms"] if run.get("converged") else np.inf for run in runs]
    shares = {f"relaxations, {limit} A": 100 * float(np.mean(np.array(deviations) < limit)) for limit in CLOSE}
    return {**shares, "relaxations, failures": float(sum(bool(run.get("failure")) for run in runs))}


def cycles(contestant: Contestant, calculator: BaseCalculator, cells: Cells, records: Sequence[Record]) -> Figures:
    """Count SCF cycles to 1e-9 Hartree from a contestant's guess, plain and preconditioned."""
    if not contestant.guess:
        return {}

    def run(atoms: Atoms, diis_start: int | None) -> dict[str, Any]:
        if isinstance(calculator, PhiSNetCalculator):
            with suppress(UserWarning, InputError):  # it hands over
                return scf.converged(atoms, f"RKS {YARDSTICK}", diis_start, scf.model_guess(calculator))
        return scf.converged(atoms, f"RKS {YARDSTICK}", diis_start, _own_guess)

    counts = []
    for atoms in map(atoms_from_record, records):
        ways = {"cycles": 1, "preconditioned cycles": None}  # name -> the cycle in which DIIS begins
        counts.append([cells.get(name, atoms, partial(run, atoms, way))["cycles"] for name, way in ways.items()])
    plain, preconditioned = np.mean(counts, axis=0)
    return {"cycles": float(plain), "cycles, preconditioned": float(preconditioned)}


def _own_guess(solver: Any) -> Any:
    return solver.get_init_guess(solver.mol, solver.init_guess)


def seconds(calculator: BaseCalculator, cells: Cells) -> Figures:
    """Time energy and forces of paracetamol on one thread, CPU-seconds; what is loaded once does not count."""
    paracetamol = atoms_from_record(from_smiles(_TIMED))

    def timed() -> dict[str, Any]:
        for atoms in (molecule("H2O"), paracetamol.copy()):
            atoms.calc = calculator
            _, spent = cpu_seconds(atoms.get_forces)
        if spent > _QUICK:
            return {"seconds": spent}
        repeats = []
        for k in range(_REPEATS):
            atoms = paracetamol.copy()
            atoms.rattle(1e-3, seed=k)
            atoms.calc = calculator
            repeats.append(cpu_seconds(atoms.get_forces)[1])
        return {"seconds": float(np.median(repeats))}

    cell = cells.get("seconds", paracetamol, timed)
    return {"seconds": cell["seconds"]} if "seconds" in cell else {}
