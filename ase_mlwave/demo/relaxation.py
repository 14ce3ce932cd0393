"""A molecule relaxed by any calculator, and how far its shape is from another's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.calculators.calculator import Calculator
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.optimize import BFGS

__all__ = ["Relaxation", "bond_error", "distance_between", "relax"]


@dataclass(frozen=True)
class Relaxation:
    """A relaxed molecule and how it came about."""

    name: str
    """What computed the energies."""
    atoms: Atoms
    """The minimum, without its calculator."""
    seconds: float
    """Wall time of the whole relaxation."""
    energies: list[float] = field(repr=False)
    """Energy of each geometry, the first and the last included, eV, (steps + 1)."""


def relax(
    name: str,
    calculator: Calculator,
    start: Atoms,
    *,
    fmax: float = 0.02,
    progress: Callable[[int], None] | None = None,
) -> Relaxation:
    """Relax a molecule with ASE's BFGS.

    Parameters
    ----------
    name : str
        For the table.
    calculator : Calculator
        Any ASE calculator.
    start : Atoms
        Not changed.
    fmax : float
        Largest force at the end, eV/Angstrom.
    progress : callable, optional
        Called with the number of steps done.

    Returns
    -------
    Relaxation
    """
    atoms = start.copy()
    atoms.calc = calculator
    energies: list[float] = []

    def record() -> None:
        energies.append(float(atoms.get_potential_energy()))
        if progress is not None:
            progress(len(energies) - 1)

    begin = time.perf_counter()
    optimiser = BFGS(atoms, logfile=None)
    optimiser.attach(record)
    optimiser.run(fmax=fmax, steps=60)
    return Relaxation(name, atoms.copy(), time.perf_counter() - begin, energies)


def distance_between(one: Atoms, other: Atoms) -> float:
    """Give the root mean square distance of corresponding atoms, Angstrom, with one molecule laid upon the other."""
    moved = one.copy()
    minimize_rotation_and_translation(other, moved)
    return float(np.sqrt(((moved.positions - other.positions) ** 2).sum(axis=1).mean()))


def bond_error(one: Atoms, other: Atoms) -> float:
    """Give the largest difference between lengths of corresponding bonds, Angstrom; ``other`` says what is bonded."""
    pairs = zip(*neighbor_list("ij", other, natural_cutoffs(other, mult=1.15)), strict=True)
    return max(abs(float(one.get_distance(i, j) - other.get_distance(i, j))) for i, j in pairs)
