"""What an ASE user does with a calculator, as functions of the calculator alone, so that PySCF can do the same.

``python -m tests.calculators.protocols`` (some minutes) runs them with PySCF at the model's level of theory and writes
``files/water_reference.json``, which the tests compare with.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS
from ase.vibrations import Vibrations

LEVEL = "pbe/def2-svp"
FILE = Path(__file__).parent / "files" / "water_reference.json"


def water(bond: float, angle: float, other_bond: float | None = None) -> Atoms:
    """Build a water from its bonds, Angstrom, and its angle, degrees, in no special orientation."""
    half = np.radians(angle) / 2
    second = bond if other_bond is None else other_bond
    hydrogens = [(bond * np.sin(half), bond * np.cos(half), 0), (-second * np.sin(half), second * np.cos(half), 0)]
    atoms = Atoms("OH2", [(0.0, 0.0, 0.0), *hydrogens])
    atoms.rotate(40, (1.0, 2.0, -1.0))
    return atoms


def shape(atoms: Atoms) -> list[float]:
    """Measure both bonds, Angstrom, and the angle, degrees."""
    return [float(x) for x in (atoms.get_distance(0, 1), atoms.get_distance(0, 2), atoms.get_angle(1, 0, 2))]


def minimum(calculator: Calculator) -> tuple[Atoms, float]:
    """Relax a distorted water; return it with its energy, eV."""
    atoms = water(1.07, 95.0, 0.90)
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=0.005, steps=60)
    return atoms, float(atoms.get_potential_energy())


def frequencies(calculator: Calculator, geometry: Atoms) -> list[float]:
    """Compute the three harmonic frequencies at a geometry, cm^-1."""
    atoms = geometry.copy()
    atoms.calc = calculator
    with tempfile.TemporaryDirectory() as folder:
        vibrations = Vibrations(atoms, name=str(Path(folder, "vib")))
        vibrations.run()
        values = vibrations.get_frequencies()
    return [float(x) for x in np.real(values[-3:])]


def trajectory(calculator: Calculator, steps: int = 40) -> Atoms:
    """Run velocity Verlet, 0.25 fs a step, from fixed positions and velocities; 40 steps are an O-H vibration."""
    atoms = water(1.03, 100.0, 0.93)
    speeds = np.random.default_rng(3).normal(scale=0.02, size=(3, 3))
    atoms.set_velocities(speeds / np.sqrt(atoms.get_masses())[:, None])
    atoms.calc = calculator
    VelocityVerlet(atoms, timestep=0.25 * units.fs, logfile=None).run(steps)
    return atoms


def bending_path(calculator: Calculator) -> list[Atoms]:
    """Relax a nudged elastic band from a narrow to a wide angle, through the minimum: all of it vibrating water."""
    shapes = [(0.99, 85.0), (0.98, 95.0), (0.97, 106.0), (0.96, 117.0), (0.95, 128.0)]
    return _band([water(*one) for one in shapes], calculator, turn=True)


def inversion_path(calculator: Calculator) -> list[Atoms]:
    """Relax a nudged elastic band from water to its inverse, oxygen between the hydrogens in the middle.

    Rotations stay in: without them both ends would be the same.
    """
    ends = water(0.9745, 102.2), water(0.9745, 360.0 - 102.2)
    ends[1].positions += ends[0].positions[1] - ends[1].positions[1]  # hydrogens stay where they are
    middle = [ends[0].copy() for _ in range(3)]
    for k, image in enumerate(middle):
        image.positions += (k + 1) / 4 * (ends[1].positions - ends[0].positions)
    return _band([ends[0], *middle, ends[1]], calculator, turn=False)


def _band(images: list[Atoms], calculator: Calculator, *, turn: bool) -> list[Atoms]:
    for image in images:
        image.calc = calculator
    band = NEB(
        images, k=1.0, method="improvedtangent", allow_shared_calculator=True, remove_rotation_and_translation=turn
    )
    BFGS(band, logfile=None).run(fmax=0.05, steps=25)
    return images


def reference() -> dict[str, Any]:
    """Run everything with PySCF, each geometry from scratch."""
    from ase_mlwave.reference.calculator import ReferenceCalculator

    calculator = ReferenceCalculator(LEVEL)
    relaxed, energy = minimum(calculator)
    paths = {"bending": bending_path(calculator), "inversion": inversion_path(calculator)}
    return {
        "level": LEVEL,
        "minimum": {"shape": shape(relaxed), "energy": energy},
        "frequencies": frequencies(calculator, relaxed),
        "trajectory": trajectory(calculator).positions.tolist(),
        "paths": {
            name: {"energies": [float(i.get_potential_energy()) for i in path], "shapes": [shape(i) for i in path]}
            for name, path in paths.items()
        },
    }


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(reference(), indent=1) + "\n", encoding="utf-8")
