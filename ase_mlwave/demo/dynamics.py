"""A short trajectory at constant energy, and its drift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

__all__ = ["Trajectory", "distorted_water", "run_nve"]


@dataclass(frozen=True)
class Trajectory:
    """Energies along a trajectory at constant energy."""

    time: NDArray[np.float64]
    """ps, (T,)."""
    potential: NDArray[np.float64]
    """eV, (T,)."""
    kinetic: NDArray[np.float64]
    """eV, (T,)."""
    n_atoms: int
    """Number of atoms."""

    @property
    def total(self) -> NDArray[np.float64]:
        """Total energy, eV, (T,)."""
        return self.potential + self.kinetic

    @property
    def drift(self) -> float:
        """Slope of the total energy, meV per atom and ps."""
        slope: float = np.polyfit(self.time, self.total, 1)[0]
        return 1e3 * slope / self.n_atoms

    @property
    def fluctuation(self) -> float:
        """Standard deviation of the total energy, meV."""
        return float(1e3 * self.total.std())


def distorted_water() -> Atoms:
    """Build the starting point: one long bond, one short, a narrow angle."""
    return Atoms("OH2", [(0.0, 0.0, 0.0), (1.08, 0.0, 0.05), (-0.05, 0.88, 0.0)])


def run_nve(
    calculator: Calculator,
    *,
    steps: int = 400,
    timestep_fs: float = 0.25,
    temperature: float = 300.0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Trajectory:
    """Run velocity Verlet from a distorted water.

    Parameters
    ----------
    calculator : Calculator
        Any ASE calculator with forces.
    steps : int
        Number of steps.
    timestep_fs : float
        Time step, fs.
    temperature : float
        Of the initial velocities, K.
    seed : int
        Of the initial velocities.
    progress : callable, optional
        Called with 1 after each step.

    Returns
    -------
    Trajectory
    """
    atoms = distorted_water()
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=temperature, rng=np.random.default_rng(seed))
    Stationary(atoms)
    ZeroRotation(atoms)
    potential, kinetic = [], []
    dynamics = VelocityVerlet(atoms, timestep=timestep_fs * units.fs, logfile=None)

    def record() -> None:
        potential.append(float(atoms.get_potential_energy()))
        kinetic.append(float(atoms.get_kinetic_energy()))
        if progress is not None:
            progress(1)

    dynamics.attach(record)
    dynamics.run(steps)
    time = np.arange(len(potential)) * timestep_fs / 1000
    return Trajectory(time, np.array(potential), np.array(kinetic), len(atoms))
