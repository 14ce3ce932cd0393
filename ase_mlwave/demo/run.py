"""All parts of the demonstration, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.demo.dynamics import run_nve
from ase_mlwave.demo.relaxation import relax
from ase_mlwave.evaluation.matrices import count_cycles
from ase_mlwave.plotting.demo import draw_cycles, draw_relaxations, draw_trajectory
from ase_mlwave.reference.calculator import ReferenceCalculator

__all__ = ["Section", "held_out_waters", "run_demo"]

_GUESSES = ("minao", "atom", "huckel", "1e")
_NVE_STEPS = 800


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


def run_demo(model: str, output: Path, progress: Callable[[str, int, int], None]) -> list[Section]:
    """Run the demonstration.

    Parameters
    ----------
    model : str
        Model for water.
    output : Path
        Existing folder for the pictures.
    progress : callable
        Called with (what is being done, number done, number in all).

    Returns
    -------
    list of Section
    """
    return [
        _relaxations(model, output, progress),
        _dynamics(model, output, progress),
        _cycles(model, output, progress),
    ]


def _relaxations(model: str, output: Path, progress: Callable[[str, int, int], None]) -> Section:
    wavefunction = PhiSNetCalculator(model)
    reference = wavefunction.members[0].config.level
    calculators = {
        "PhiSNet, wavefunction": wavefunction,
        "PhiSNet, functional": PhiSNetCalculator(model, energy="functional"),
        "PhiSNet, scf": PhiSNetCalculator(model, energy="scf"),
        f"PySCF, {reference}": ReferenceCalculator(reference),
    }
    relaxed = []
    for k, (name, calculator) in enumerate(calculators.items()):
        progress("relaxation", k, len(calculators))
        relaxed.append(relax(name, calculator))
    progress("relaxation", len(calculators), len(calculators))
    draw_relaxations({one.name: one.energies for one in relaxed}, output / "relaxation.png")
    rows = tuple(
        (r.name, f"{r.bond:.4f}", f"{r.angle:.2f}", f"{1e3 * (r.energy - relaxed[-1].energy):+.3f}", f"{r.seconds:.1f}")
        for r in relaxed
    )
    return Section(
        "A distorted water, relaxed to 0.005 eV/A",
        ("method", "O-H (A)", "H-O-H (deg)", "energy from PySCF's (meV)", "seconds"),
        rows,
        "The last row is PySCF's own minimum; 'scf' is PySCF started from the predicted density.",
        "relaxation.png",
    )


def _dynamics(model: str, output: Path, progress: Callable[[str, int, int], None]) -> Section:
    count = iter(range(1, _NVE_STEPS + 2))
    trajectory = run_nve(
        PhiSNetCalculator(model),
        steps=_NVE_STEPS,
        progress=lambda _: progress("dynamics", next(count), _NVE_STEPS + 1),
    )
    draw_trajectory(trajectory.time, trajectory.potential, trajectory.kinetic, output / "dynamics.png")
    row = (f"{trajectory.time[-1]:.2f}", f"{trajectory.fluctuation:.3f}", f"{trajectory.drift:+.4f}")
    return Section(
        "Dynamics at constant energy, PhiSNet (wavefunction)",
        ("length (ps)", "fluctuation (meV)", "drift (meV / atom / ps)"),
        (row,),
        "Velocity Verlet, 0.25 fs: the fluctuation is the integrator's, the drift would be the forces' fault.",
        "dynamics.png",
    )


def _cycles(model: str, output: Path, progress: Callable[[str, int, int], None]) -> Section:
    records = [record_from_atoms(atoms) for atoms in held_out_waters()]
    count = iter(range(1, len(records) + 1))
    counts = count_cycles(
        PhiSNetCalculator(model),
        records,
        guesses=_GUESSES,
        progress=lambda _: progress("SCF cycles", next(count), len(records)),
    )
    draw_cycles(counts.by_guess, output / "scf_cycles.png")
    rows = tuple((name, f"{np.mean(n):.2f}", str(min(n)), str(max(n))) for name, n in counts.by_guess.items())
    return Section(
        f"SCF cycles over {len(records)} held-out waters, to 1e-9 Hartree",
        ("initial guess", "mean", "fewest", "most"),
        rows,
        "'model' is PhiSNetCalculator.initial_guess; the others are PySCF's, 'minao' its default.",
        "scf_cycles.png",
    )
