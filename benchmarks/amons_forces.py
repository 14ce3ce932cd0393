"""Forces, dynamics and relaxations of biomolecules with models learned from their amons.

    python -m benchmarks.amons_forces --output results
    python -m benchmarks.amons_forces dipeptide --max-heavy 5 --copies 16 --output results

For each molecule: its amons and their displaced copies are labelled (kept in a database in the output folder, so that
a run that was stopped goes on), a model is fitted, and compared with the reference, GFN2-xTB: forces and energies at
geometries of Langevin dynamics of the reference at 300 K; a relaxation from the last of those, against the reference's
from the same start; dynamics at constant energy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, InputError

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.learning.settings import Displacements
from ase_mlwave.reference.dynamics import sample_langevin
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.reference.sampling import level_calculator
from benchmarks.common import bar, command_line, figures_table, one_thread, positive, relaxed, write_json
from benchmarks.dynamics import figures, prepare, run_nve
from benchmarks.superposition import rmsd

MOLECULES = {"dipeptide": "CC(=O)NC(C)C(=O)NC", "paracetamol": "CC(=O)Nc1ccc(O)cc1", "dopamine": "NCCc1ccc(O)c(O)c1"}
#: Largest force of a minimum, eV/Angstrom, and the steps that it may take; time step, fs.
_FMAX, _STEPS, _TIMESTEP = 0.02, 500, 0.5


def reference_of(atoms: Atoms) -> Calculator:
    """Return a fresh calculator of the reference."""
    return level_calculator(LevelOfTheory.parse("gfn2-xtb"), record_from_atoms(atoms))


def energy_and_forces(atoms: Atoms, calculator: Calculator) -> tuple[float, Any]:
    """Compute both, eV and eV/Angstrom, and leave the calculator there."""
    atoms.calc = calculator
    return float(atoms.get_potential_energy()), atoms.get_forces()


def study(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    start = atoms_from_record(from_smiles(MOLECULES[name]))
    query = relaxed(start, reference_of(start), _FMAX, _STEPS)
    query.calc = None
    calc = AmonsCalculator.for_query(
        query,
        reference="gfn2-xtb",
        max_heavy=chosen.max_heavy,
        database=chosen.output / "forces.db",
        displaced=Displacements(number=chosen.copies),
        settings=FitSettings.for_forces().model_copy(update={"basis": chosen.basis}),
        n_workers=chosen.workers,
        uncertainty="none",
    )
    record = record_from_atoms(query)
    drawn = sample_langevin(record, reference_of(query), [300.0], chosen.geometries, chosen.seed)
    thermal = [atoms_from_record(found) for found in drawn]
    exact = [energy_and_forces(geometry, reference_of(geometry)) for geometry in thermal]
    found = [energy_and_forces(geometry, calc) for geometry in thermal]
    energies, errors = ([ours[k] - theirs[k] for ours, theirs in zip(found, exact, strict=True)] for k in (0, 1))
    assert calc.study is not None
    result = {
        "molecule": name,
        "atoms": len(query),
        "amons": len(calc.extras["amons"]),
        "geometries": len(calc.study.records),
        "force MAE (meV/A)": 1e3 * float(np.abs(errors).mean()),
        "mean |force| component (meV/A)": 1e3 * float(np.abs([forces for _, forces in exact]).mean()),
        "energy MAE (meV)": 1e3 * float(np.abs(energies).mean()),
    }
    return result | relaxation(thermal[-1], calc) | dynamics(query, calc, chosen)


def relaxation(start: Atoms, calc: Calculator) -> dict[str, Any]:
    right = relaxed(start, reference_of(start), _FMAX, _STEPS)
    try:
        end = relaxed(start, calc, _FMAX, _STEPS)
    except InputError as error:  # atoms on top of each other
        return {"relaxation: failed": str(error)}
    above = energy_and_forces(end, reference_of(end))[0] - right.get_potential_energy()
    names = ("RMSD (A)", "RMSD of heavy atoms (A)", "energy above the reference's minimum (meV)")
    return {f"relaxation: {n}": v for n, v in zip(names, (*rmsd(end, right), 1e3 * float(above)), strict=True)}


def dynamics(query: Atoms, calc: Calculator, chosen: argparse.Namespace) -> dict[str, Any]:
    atoms, steps = query.copy(), round(1000 * chosen.length / _TIMESTEP)
    atoms.calc = calc
    try:
        prepare(atoms, 300.0, chosen.seed)
    except InputError as error:
        return {"NVE: failed": str(error)}
    with bar() as progress:
        task = progress.add_task("dynamics", total=steps)
        run = run_nve(atoms, steps, _TIMESTEP, lambda: progress.advance(task))
    return {f"NVE: {key}": value for key, value in figures(run).items()}


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("amons_forces", __doc__, output=..., max_heavy=9, workers=..., seed=...)
    parser.add_argument("molecules", nargs="*", metavar="MOLECULE", help=f"of {', '.join(MOLECULES)} (default: all)")
    parser.add_argument("--copies", type=positive(int), default=64, help="displaced copies of every amon")
    parser.add_argument("--basis", type=positive(int), default=2400, help="environments that forces are expanded in")
    parser.add_argument("--geometries", type=positive(int), default=20, help="at which forces are compared")
    parser.add_argument("--length", type=positive(float), default=5.0, help="of the dynamics, ps")
    chosen = parser.parse_args(words)
    unknown = [name for name in chosen.molecules if name not in MOLECULES]
    if unknown:
        parser.error(f"{unknown[0]!r} is no molecule of this benchmark; they are {', '.join(MOLECULES)}")
    chosen.output.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with one_thread():
        for name in chosen.molecules or MOLECULES:
            results.append(study(name, chosen))
            write_json(chosen.output / "forces.json", results)
    Console().print(figures_table({result["molecule"]: result for result in results}))


if __name__ == "__main__":
    main()
