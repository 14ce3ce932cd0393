"""Forces, dynamics and relaxations of biomolecules with models learned from their amons.

    python -m benchmarks.amons_forces --output results
    python -m benchmarks.amons_forces dipeptide --max-heavy 5 --copies 16 --output results

For each molecule: its amons and their displaced copies are labelled (kept in a database in the output folder, so that
a run that was stopped goes on), a model is fitted, and compared with the reference, GFN2-xTB: forces and energies at
geometries of Langevin dynamics of the reference at 300 K; a relaxation from the last of those, against the reference's
from the same start; dynamics at constant energy. Run it from the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.calculators.calculator import Calculator, InputError
from ase.optimize import BFGS
from rich.console import Console
from rich.table import Table

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.errors import suggestion
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.learning.copies import Displacements
from ase_mlwave.reference.dynamics import sample_langevin
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.reference.sampling import level_calculator
from benchmarks.dynamics import bar, figures, prepare, run_nve

MOLECULES = {
    "dipeptide": "CC(=O)NC(C)C(=O)NC",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "dopamine": "NCCc1ccc(O)c(O)c1",
}
_FMAX, _STEPS = 0.02, 500


def reference_of(atoms: Atoms, level: LevelOfTheory) -> Calculator:
    """Return a fresh calculator of the reference."""
    return level_calculator(level, record_from_atoms(atoms))


def relaxed(atoms: Atoms, calculator: Calculator) -> Atoms:
    """Relax a copy."""
    found = atoms.copy()
    found.calc = calculator
    BFGS(found, logfile=None).run(fmax=_FMAX, steps=_STEPS)
    return found


def distance(one: Atoms, other: Atoms, *, heavy: bool = False) -> float:
    """Root of the mean squared distance of superposed atoms, Angstrom."""
    kept = np.flatnonzero(one.numbers > 1) if heavy else np.arange(len(one))
    target, moved = one[kept], other[kept]
    minimize_rotation_and_translation(target, moved)
    return float(np.sqrt(np.mean(np.sum((target.positions - moved.positions) ** 2, axis=1))))


def study(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Learn one molecule, and measure."""
    level = LevelOfTheory.parse("gfn2-xtb")
    start = from_smiles(MOLECULES[name])
    atoms = start if isinstance(start, Atoms) else atoms_from_record(start)
    query = relaxed(atoms, reference_of(atoms, level))
    query.calc = None
    begin = time.perf_counter()
    calc = AmonsCalculator.for_query(
        query,
        reference=level,
        max_heavy=chosen.max_heavy,
        max_contact_heavy=chosen.max_contact_heavy,
        database=chosen.output / "forces.db",
        displaced=Displacements(number=chosen.copies),
        settings=FitSettings.for_forces().model_copy(update={"basis": chosen.basis}),
        n_workers=chosen.workers,
        uncertainty="none",
    )
    taken = time.perf_counter() - begin
    record = record_from_atoms(query)
    thermal = [
        atoms_from_record(found)
        for found in sample_langevin(record, level_calculator(level, record), [300.0], chosen.geometries, chosen.seed)
    ]
    errors, energies, sizes = [], [], []
    for geometry in thermal:
        geometry.calc = reference_of(geometry, level)
        forces, energy = geometry.get_forces(), geometry.get_potential_energy()
        geometry.calc = calc
        errors.append(geometry.get_forces() - forces)
        energies.append(geometry.get_potential_energy() - energy)
        sizes.append(forces)
    result = {
        "molecule": name,
        "atoms": len(query),
        "max_heavy": chosen.max_heavy,
        "amons": len(calc.members[0].network.config.amons),
        "geometries": len(calc.study.records),
        "labelled now": calc.study.n_new,
        "seconds to a calculator": taken,
        "force MAE (meV/A)": 1e3 * float(np.abs(errors).mean()),
        "force RMSE (meV/A)": 1e3 * float(np.sqrt(np.mean(np.square(errors)))),
        "mean |force| component (meV/A)": 1e3 * float(np.abs(sizes).mean()),
        "energy MAE (meV)": 1e3 * float(np.abs(energies).mean()),
        "energy scatter (meV)": 1e3 * float(np.std(energies)),
    }
    return result | relaxation(thermal[-1], calc, level) | dynamics(query, calc, chosen)


def relaxation(start: Atoms, calc: Calculator, level: LevelOfTheory) -> dict[str, Any]:
    """Relax with the model and with the reference."""
    right = relaxed(start, reference_of(start, level))
    try:
        end = relaxed(start, calc)
    except InputError as error:  # atoms on top of each other
        return {"relaxation: failed": str(error)}
    return {
        "relaxation: RMSD (A)": distance(right, end),
        "relaxation: RMSD of heavy atoms (A)": distance(right, end, heavy=True),
        "relaxation: energy above the reference's minimum (meV)": _above(end, right, level),
    }


def _above(end: Atoms, right: Atoms, level: LevelOfTheory) -> float:
    """Give the reference's energy of the model's minimum less that of its own, meV."""
    here = end.copy()
    here.calc = reference_of(here, level)
    return 1e3 * float(here.get_potential_energy() - right.get_potential_energy())


def dynamics(query: Atoms, calc: Calculator, chosen: argparse.Namespace) -> dict[str, Any]:
    """Run dynamics at constant energy."""
    if chosen.length == 0:
        return {}
    atoms = query.copy()
    atoms.calc = calc
    try:
        prepare(atoms, 300.0, chosen.seed)
    except InputError as error:
        return {"NVE: failed": str(error)}
    steps = round(1000 * chosen.length / chosen.timestep)
    with bar(Console(stderr=True)) as progress:
        task = progress.add_task("dynamics", total=steps)
        run = run_nve(atoms, steps, chosen.timestep, lambda: progress.advance(task))
    return {f"NVE: {key}": value for key, value in figures(run).items()}


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.amons_forces",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("molecules", nargs="*", metavar="MOLECULE", help=f"of {', '.join(MOLECULES)} (default: all)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the database and forces.json")
    parser.add_argument("--max-heavy", type=int, default=9, help="heavy atoms of the largest amons")
    parser.add_argument("--max-contact-heavy", type=int, help="heavy atoms of amons that touch (default: none)")
    parser.add_argument("--copies", type=int, default=64, help="displaced copies of every amon")
    parser.add_argument(
        "--basis", type=int, default=2400, help="environments of an element that forces are expanded in"
    )
    parser.add_argument("--geometries", type=int, default=20, help="at which forces are compared")
    parser.add_argument("--length", type=float, default=5.0, help="of the dynamics, ps; 0 for none")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--workers", type=int, default=1, help="processes that label")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    for name in chosen.molecules:
        if name not in MOLECULES:
            parser.error(f"{name!r} is no molecule of this benchmark. {suggestion(name, MOLECULES)}")
    for name in ("max_heavy", "copies", "basis", "geometries", "timestep", "workers"):
        if not getattr(chosen, name) > 0:
            parser.error(f"--{name.replace('_', '-')} must be positive (got {getattr(chosen, name)})")
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    """Measure all molecules, and write what came of each at once."""
    chosen, console = options(words), Console()
    torch.set_num_threads(1)
    chosen.output.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        for name in chosen.molecules or MOLECULES:
            results.append(study(name, chosen))
            (chosen.output / "forces.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except InputError as error:
        console.print(f"error: {error}", style="red", markup=False)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on with the labels that are there")
    table = Table("figure", *(result["molecule"] for result in results))
    for key in dict.fromkeys(key for result in results for key in result):
        if key != "molecule":
            table.add_row(key, *(_shown(result.get(key)) for result in results))
    console.print(table)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
