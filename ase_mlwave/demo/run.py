"""All parts of the demonstration, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from ase.units import Debye, Hartree

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.data.splits import formula_split
from ase_mlwave.demo.dynamics import run_nve
from ase_mlwave.demo.relaxation import Relaxation, bond_error, distance_between, relax
from ase_mlwave.demo.warm_start import WarmStart, warm_start
from ase_mlwave.plotting.demo import draw_cycles, draw_orbitals, draw_relaxations, draw_trajectory
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.molecules import from_smiles

__all__ = ["WATER_MODEL", "Progress", "Section", "held_out_waters", "run_demo"]

#: The model whose dynamics and first cycles are shown.
WATER_MODEL = "phisnet-water"
_NVE_STEPS = 400
_N_WATERS = 5
#: Molecules that are converged twice beside the one that was relaxed: their sum formulas are in no training data.
_UNSEEN = {"formamide": "NC=O", "acetic acid": "CC(=O)O", "glycol": "OCCO"}

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is if that is known."""


@dataclass(frozen=True)
class Section:
    """One table of the demonstration and its picture."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remark: str
    picture: str


def held_out_waters() -> list[Atoms]:
    """Read the geometries that ship with the package: the first of the test split, PBE/def2-SVP labels included."""
    with as_file(files("ase_mlwave.demo") / "held_out_waters.xyz") as path:
        frames = read(path, index=":")
    return list(frames)


def run_demo(molecule: str, model: str, output: Path, progress: Progress) -> list[Section]:
    """Run the demonstration.

    Parameters
    ----------
    molecule : str
        SMILES of a small molecule.
    model : str
        Model for it.
    output : Path
        Existing folder for the pictures.
    progress : callable
        See ``Progress``.

    Returns
    -------
    list of Section

    Raises
    ------
    InputError
        If the SMILES is none, or the model does not know its elements.
    """
    start = atoms_from_record(from_smiles(molecule))
    calculator = PhiSNetCalculator(model, energy="functional")
    relaxed, relaxations = _relaxations(calculator, start, output, progress)
    converged = _converged(calculator, molecule, relaxed, progress)
    return [
        relaxations,
        _orbitals(calculator, relaxed, converged[molecule][1], output),
        _cycles(converged, output),
        _dynamics(output, progress),
    ]


def _relaxations(
    calculator: PhiSNetCalculator, start: Atoms, output: Path, progress: Progress
) -> tuple[Atoms, Section]:
    """Relax with the model, and from its minimum with the reference, whose minimum is returned."""
    level, model = calculator.members[0].config.level, str(calculator.parameters["model"])
    mine = _relaxed(f"{model}, functional", calculator, start, progress)
    reference = _relaxed(f"PySCF, {level}, from there", ReferenceCalculator(level), mine.atoms, progress)
    draw_relaxations({one.name: one.energies for one in (mine, reference)}, output / "relaxation.png")
    minimum = reference.atoms
    above = 1e3 * (reference.energies[0] - reference.energies[-1])
    rows = [("RDKit, MMFF94 (the start)", start, "", "", "")]
    rows.append((mine.name, mine.atoms, f"{above:.1f}", *_steps(mine)))
    rows.append((reference.name, minimum, "0.0", *_steps(reference)))
    return minimum, Section(
        f"{start.get_chemical_formula()}, relaxed to 0.02 eV/A: how far from PySCF's minimum",
        ("geometry", "largest error of a bond (A)", "RMSD (A)", "energy above (meV)", "steps", "seconds a step"),
        tuple(
            (name, f"{bond_error(atoms, minimum):.4f}", f"{distance_between(atoms, minimum):.3f}", *rest)
            for name, atoms, *rest in rows
        ),
        f"'functional' is {level} at the predicted density, without an SCF. PySCF starts at the model's minimum.",
        "relaxation.png",
    )


def _relaxed(
    name: str, calculator: PhiSNetCalculator | ReferenceCalculator, start: Atoms, report: Progress
) -> Relaxation:
    what = f"relaxation: {name}"
    result = relax(name, calculator, start, progress=lambda step: report(what, step, None))
    steps = len(result.energies) - 1
    report(what, steps, steps)
    return result


def _steps(relaxation: Relaxation) -> tuple[str, str]:
    n = len(relaxation.energies)
    return str(n - 1), f"{relaxation.seconds / n:.1f}"


def _converged(
    calculator: PhiSNetCalculator, molecule: str, relaxed: Atoms, progress: Progress
) -> dict[str, tuple[Record, WarmStart]]:
    """Converge the molecule and others that the model has not seen, from both guesses each."""
    records = {molecule: record_from_atoms(relaxed)} | {name: from_smiles(text) for name, text in _UNSEEN.items()}
    found = {}
    for k, (name, record) in enumerate(records.items()):
        progress("SCF from both guesses", k, len(records) + _N_WATERS)
        found[name] = (record, warm_start(calculator, record))
    water = PhiSNetCalculator(WATER_MODEL)
    for k, atoms in enumerate(held_out_waters()[:_N_WATERS], start=1):
        record = record_from_atoms(atoms)
        found[f"distorted water {k}"] = (record, warm_start(water, record))
        progress("SCF from both guesses", len(records) + k, len(records) + _N_WATERS)
    return found


def _orbitals(calculator: PhiSNetCalculator, atoms: Atoms, reference: WarmStart, output: Path) -> Section:
    """Compare what follows from the predicted matrix with what follows from the converged one."""
    (outcome,) = calculator.predict_outcomes([atoms], ["dipole", "charges"])
    mean_field, n_occupied = reference.mean_field, int(atoms.numbers.sum()) // 2
    level = calculator.members[0].config.level
    energies = outcome.extras["orbital_energies"] * Hartree, mean_field.mo_energy * Hartree
    dipoles = outcome.values["dipole"] / Debye, mean_field.dip_moment(unit="Debye", verbose=0)
    charges = outcome.values["charges"], mean_field.mulliken_pop(verbose=0)[1]
    figures = {
        "highest occupied orbital (eV)": [e[n_occupied - 1] for e in energies],
        "lowest empty orbital (eV)": [e[n_occupied] for e in energies],
        "gap (eV)": [e[n_occupied] - e[n_occupied - 1] for e in energies],
        "dipole moment (D)": [np.linalg.norm(d) for d in dipoles],
        "most negative charge (e)": [q.min() for q in charges],
        "most positive charge (e)": [q.max() for q in charges],
    }
    draw_orbitals(
        atoms,
        partial(calculator.orbital, atoms),
        {str(calculator.parameters["model"]): energies[0], level: energies[1]},
        outcome.values["charges"],
        output / "orbitals.png",
    )
    return Section(
        f"Orbitals, dipole and charges of {atoms.get_chemical_formula()}",
        ("quantity", "predicted", level, "error"),
        tuple((name, f"{a:.3f}", f"{b:.3f}", f"{a - b:+.3f}") for name, (a, b) in figures.items()),
        "At PySCF's minimum, straight from the predicted matrix; charges are Mulliken's.",
        "orbitals.png",
    )


def _cycles(converged: dict[str, tuple[Record, WarmStart]], output: Path) -> Section:
    both = {name: run.cycles for name, (_, run) in converged.items()}
    draw_cycles(both, output / "scf_cycles.png")
    rows = []
    for name, (record, run) in converged.items():
        is_water = record.formula == "H2O"
        role = "its own model" if is_water else "for training" if formula_split(record) == "train" else "held out"
        values = (*map(str, run.cycles), *(f"{seconds:.1f}" for seconds in run.seconds), f"{run.difference:.0e}")
        rows.append((name, role, *values))
    return Section(
        "SCF to 1e-9 Hartree: PySCF's own, and preconditioned from the model's density",
        ("molecule", "sum formula", "cycles", "warm", "seconds", "warm", "difference (Hartree)"),
        tuple(rows),
        f"'warm' is from the model's density, waters' from {WATER_MODEL}; seconds include the guess.",
        "scf_cycles.png",
    )


def _dynamics(output: Path, progress: Progress) -> Section:
    count = iter(range(1, _NVE_STEPS + 2))
    trajectory = run_nve(
        PhiSNetCalculator(WATER_MODEL),
        steps=_NVE_STEPS,
        progress=lambda _: progress("dynamics", next(count), _NVE_STEPS + 1),
    )
    draw_trajectory(trajectory.time, trajectory.potential, trajectory.kinetic, output / "dynamics.png")
    row = (f"{trajectory.time[-1]:.2f}", f"{trajectory.fluctuation:.3f}", f"{trajectory.drift:+.4f}")
    return Section(
        f"Water at constant energy, {WATER_MODEL} (wavefunction)",
        ("length (ps)", "fluctuation (meV)", "drift (meV / atom / ps)"),
        (row,),
        "Velocity Verlet, 0.25 fs: the fluctuation is the integrator's, the drift would be the forces' fault.",
        "dynamics.png",
    )
