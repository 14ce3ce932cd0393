"""Draw geometries of many molecules at many temperatures: what ``mlwave sample`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from ase import Atoms
from ase.calculators.calculator import BaseCalculator, InputError
from threadpoolctl import threadpool_limits

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.errors import suggestion
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.drawing import check_request
from ase_mlwave.reference.dynamics import sample_langevin
from ase_mlwave.reference.levels import CalculatorLevel, LevelOfTheory
from ase_mlwave.reference.modes import normal_modes, sample_modes
from ase_mlwave.reference.settings import LangevinSettings, Method
from ase_mlwave.systems.checks import check_molecule

__all__ = ["level_calculator", "sample_geometries"]


def level_calculator(level: LevelOfTheory, record: Record) -> BaseCalculator:
    """Return an ASE calculator of a level of theory for a molecule, with its charge and spin."""
    return level.calculator(record) if isinstance(level, CalculatorLevel) else ReferenceCalculator(level)


def sample_geometries(
    molecules: Sequence[Record | Atoms],
    level: LevelOfTheory | str,
    temperatures: Sequence[float],
    n_geometries: int,
    seed: int,
    *,
    method: Method = "langevin",
    settings: LangevinSettings | None = None,
    n_threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Draw geometries of molecules at temperatures.

    Parameters
    ----------
    molecules : sequence of Record or Atoms
        Where each dynamics (or relaxation to the minimum) starts.
    level : LevelOfTheory or str
        Energies and forces that drive them, such as ``"gfn2-xtb"``.
    temperatures : sequence of float
        K.
    n_geometries : int
        Number for each molecule and temperature.
    seed : int
        Each molecule has its own random numbers, which depend on its place and not on the others.
    method : str
        ``"langevin"`` or ``"modes"``.
    settings : LangevinSettings, optional
        Of the dynamics.
    n_threads : int
        Most threads that linear algebra and integrals may use. Small molecules gain little from more, and lose a lot
        where the cores are busy.
    progress : callable, optional
        Called with the number of geometries so far and of all.

    Returns
    -------
    Dataset
        Without labels, ordered by molecule, temperature, time.

    Raises
    ------
    InputError
        If the level or the method is unknown, a molecule is broken, or a temperature or a number is not positive.
    CalculationFailed
        If dynamics diverge, or a relaxation does not end in a minimum.
    """
    theory = LevelOfTheory.parse(level) if isinstance(level, str) else level
    if method not in get_args(Method):
        raise InputError(f"there is no method {method!r} of sampling. {suggestion(str(method), get_args(Method))}")
    check_request(temperatures, n_geometries)
    if n_threads < 1:
        raise InputError(f"n_threads must be at least 1 (got {n_threads}).")
    records = [molecule if isinstance(molecule, Record) else record_from_atoms(molecule) for molecule in molecules]
    for record in records:
        check_molecule(record)
    total = len(records) * len(temperatures) * n_geometries
    sampled: list[Record] = []

    def report(n_new: int) -> None:
        if progress is not None:
            progress(len(sampled) + n_new, total)

    theory.load()
    with threadpool_limits(limits=n_threads):
        for place, record in enumerate(records):
            calculator, molecule_seed = level_calculator(theory, record), [seed, place]
            if method == "langevin":
                arguments = (record, calculator, temperatures, n_geometries, molecule_seed, settings, report)
                sampled += sample_langevin(*arguments)
            else:
                sampled += sample_modes(normal_modes(record, calculator), temperatures, n_geometries, molecule_seed)
                report(0)
    return Dataset(records=tuple(sampled), level="", source=f"sampled at {theory.name}")
