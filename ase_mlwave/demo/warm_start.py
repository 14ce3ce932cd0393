"""SCF cycles and seconds with a predicted guess, and with PySCF's own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.preconditioner import pays_off, precondition
from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["WarmStart", "warm_start"]

#: Energy change at which the SCF stops, Hartree.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class WarmStart:
    """One molecule converged twice; what has two values has PySCF's own guess first, then the predicted one."""

    cycles: tuple[int, int]
    """Cycles of the SCF."""
    seconds: tuple[float, float]
    """Wall time, the guess included."""
    difference: float
    """By how much the two energies differ, Hartree."""
    mean_field: Any
    """PySCF's, converged from its own guess."""


def warm_start(calculator: PhiSNetCalculator, record: Record) -> WarmStart:
    """Converge a molecule at the model's level of theory from PySCF's own guess and, preconditioned, from ours."""
    level = LevelOfTheory.parse(calculator.members[0].config.level)
    basis = calculator.members[0].network_as(PhiSNet).config.basis
    mole = build_mole(record.numbers, record.positions, basis, record.charge, record.spin)
    cycles, seconds, runs = [], [], []
    for is_predicted in (False, True):
        mean_field: Any = level.mean_field(mole)
        mean_field.conv_tol = _TOLERANCE
        if is_predicted and pays_off(mean_field):
            mean_field = precondition(mean_field)
        begin = time.perf_counter()
        guess = calculator.initial_guess(mean_field) if is_predicted else mean_field.get_init_guess()
        mean_field.kernel(dm0=guess)
        seconds.append(time.perf_counter() - begin)
        cycles.append(int(mean_field.cycles))
        runs.append(mean_field)
    difference = float(np.abs(runs[1].e_tot - runs[0].e_tot))
    return WarmStart((cycles[0], cycles[1]), (seconds[0], seconds[1]), difference, runs[0])
