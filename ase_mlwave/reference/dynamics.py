"""Draw geometries of a molecule from Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator, CalculationFailed
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from ase_mlwave.data.record import Record
from ase_mlwave.reference.drawing import as_start, check_request, sampled_record
from ase_mlwave.reference.settings import LangevinSettings

__all__ = ["sample_langevin"]


def sample_langevin(
    molecule: Record | Atoms,
    calculator: BaseCalculator,
    temperatures: Sequence[float],
    n_geometries: int,
    seed: int | Sequence[int],
    settings: LangevinSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Record]:
    """Draw geometries from Langevin dynamics.

    Parameters
    ----------
    molecule : Record or Atoms
        Where each dynamics starts; not changed.
    calculator : ase calculator
        Energies and forces, such as ``level_calculator(LevelOfTheory.parse("gfn2-xtb"), molecule)``.
    temperatures : sequence of float
        K; each has a dynamics of its own.
    n_geometries : int
        Number of geometries at each temperature.
    seed : int or sequence of int
        Of initial velocities and random forces.
    settings : LangevinSettings, optional
        Time step, friction, equilibration and interval.
    progress : callable, optional
        Called with the number of geometries so far.

    Returns
    -------
    list of Record
        In the order of the temperatures and of time, without labels; ``info`` has ``temperature`` and what the molecule
        had.

    Raises
    ------
    InputError
        If a temperature or the number is not positive.
    CalculationFailed
        If the dynamics diverge.

    Notes
    -----
    The same seed gives the same geometries (``test_langevin_is_reproducible``); the mean kinetic energy is
    k T / 2 per degree of freedom (``test_langevin_samples_its_temperature``).
    """
    check_request(temperatures, n_geometries)
    start = as_start(molecule)
    dynamics_settings = settings or LangevinSettings()
    n_steps = max(1, round(dynamics_settings.interval / dynamics_settings.timestep))
    records: list[Record] = []
    for stream, temperature in zip(np.random.SeedSequence(seed).spawn(len(temperatures)), temperatures, strict=True):
        atoms = start.copy()
        atoms.calc = calculator
        dynamics = _dynamics(atoms, temperature, dynamics_settings, np.random.default_rng(stream))
        dynamics.run(round(dynamics_settings.equilibration / dynamics_settings.timestep))
        for _ in range(n_geometries):
            dynamics.run(n_steps)
            if not np.isfinite(atoms.positions).all():
                raise CalculationFailed(
                    f"the dynamics of {atoms.get_chemical_formula()} at {temperature} K diverged; take a shorter time "
                    f"step than {dynamics_settings.timestep} fs."
                )
            records.append(sampled_record(start, atoms.positions, temperature))
            if progress is not None:
                progress(len(records))
    return records


def _dynamics(atoms: Atoms, temperature: float, settings: LangevinSettings, rng: np.random.Generator) -> Langevin:
    """Return dynamics of a molecule that starts with thermal velocities."""
    thermalize_momenta(atoms, temperature, rng=rng)
    friction = settings.friction / units.fs
    step = settings.timestep * units.fs
    # ASE's fixcm distorts the distribution of small molecules, and a drifting molecule is the same molecule.
    return Langevin(atoms, step, temperature_K=temperature, friction=friction, fixcm=False, rng=rng)
