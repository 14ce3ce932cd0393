"""A distorted water relaxed by the model, and by the reference itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS

__all__ = ["Relaxation", "distorted_water", "relax"]


@dataclass(frozen=True)
class Relaxation:
    """A relaxed water molecule and how it came about."""

    name: str
    """What computed the energies."""
    bond: float
    """Mean O-H distance at the minimum, Angstrom."""
    angle: float
    """H-O-H angle at the minimum, degrees."""
    energy: float
    """Energy at the minimum, eV."""
    seconds: float
    """Wall time of the whole relaxation."""
    energies: list[float] = field(repr=False)
    """Energy after each step, eV."""


def distorted_water() -> Atoms:
    """Build the starting point: one long bond, one short, a narrow angle."""
    return Atoms("OH2", [(0.0, 0.0, 0.0), (1.08, 0.0, 0.05), (-0.05, 0.88, 0.0)])


def relax(name: str, calculator: Calculator, fmax: float = 0.005) -> Relaxation:
    """Relax the distorted water with ASE's BFGS.

    Parameters
    ----------
    name : str
        For the table.
    calculator : Calculator
        Any ASE calculator.
    fmax : float
        Largest force at the end, eV/Angstrom.

    Returns
    -------
    Relaxation
    """
    atoms = distorted_water()
    atoms.calc = calculator
    energies: list[float] = []
    begin = time.perf_counter()
    optimiser = BFGS(atoms, logfile=None)
    optimiser.attach(lambda: energies.append(float(atoms.get_potential_energy())))
    optimiser.run(fmax=fmax, steps=100)
    return Relaxation(
        name=name,
        bond=float(np.mean([atoms.get_distance(0, 1), atoms.get_distance(0, 2)])),
        angle=float(atoms.get_angle(1, 0, 2)),
        energy=float(atoms.get_potential_energy()),
        seconds=time.perf_counter() - begin,
        energies=energies,
    )
