"""What a model reached, on disk: a finished model is not trained again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import units as ase_units
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from rich.progress import Progress

from ase_mlwave.data.record import Record
from ase_mlwave.units import HARTREE
from benchmarks.extrapolation.models import TITLES, Job, fit
from benchmarks.extrapolation.split import energies

__all__ = ["Result", "SizeErrors", "by_size", "obtain"]

Array = NDArray[np.float64]

#: One Hartree in kcal/mol.
_KCAL_PER_MOL: float = HARTREE * ase_units.mol / ase_units.kcal


@dataclass(frozen=True)
class Result:
    """A trained model's cost and errors.

    Parameters
    ----------
    model : str
        Which.
    steps, batch_size : int
        Optimiser steps, and molecules in each.
    seconds : float
        CPU-seconds of training.
    n_parameters : int
        Learned numbers.
    test, large : list of float
        Predicted minus true energy, kcal/mol, of the held-out small molecules and of the larger ones.
    made_from : dict
        Everything that the result depends on.
    """

    model: str
    steps: int
    batch_size: int
    seconds: float
    n_parameters: int
    test: list[float]
    large: list[float]
    made_from: dict[str, Any]


@dataclass(frozen=True)
class SizeErrors:
    """Mean absolute error of molecules of one size.

    Parameters
    ----------
    n_atoms : int
        Their size.
    n_molecules : int
        How many.
    error : float
        kcal/mol.
    uncertainty : float
        Standard error of ``error``, kcal/mol; not a number for a single molecule.
    """

    n_atoms: int
    n_molecules: int
    error: float
    uncertainty: float


def by_size(records: Sequence[Record], errors: Sequence[float]) -> list[SizeErrors]:
    """Sort errors by the number of atoms.

    Parameters
    ----------
    records : sequence of Record, (B,)
        Molecules.
    errors : sequence of float, (B,)
        Signed errors, kcal/mol.

    Returns
    -------
    list of SizeErrors
        By rising size.
    """
    sizes, absolute = np.array([len(record) for record in records]), np.abs(errors)
    return [_mean(int(n), absolute[sizes == n]) for n in np.unique(sizes)]


def _mean(n_atoms: int, absolute: Array) -> SizeErrors:
    spread = absolute.std(ddof=1) / np.sqrt(len(absolute)) if len(absolute) > 1 else np.nan
    return SizeErrors(n_atoms, len(absolute), float(absolute.mean()), float(spread))


def obtain(model: str, job: Job, path: Path) -> tuple[Result, bool]:
    """Read a model's result, or train the model, test it, and write the result.

    Parameters
    ----------
    model : str
        Which.
    job : Job
        On what, and how long.
    path : Path
        JSON file of the result.

    Returns
    -------
    result : Result
    read : bool
        Whether it was there already.

    Raises
    ------
    InputError
        If the file holds a result of other data or options.
    """
    made_from = {"seed": job.seed, "bound": job.split.bound, **job.split.hashes()}
    if model != "atoms":
        made_from["budget"] = job.budget
    if model.startswith("qdf"):
        made_from["settings"] = json.loads(json.dumps(job.settings))
    if path.exists():
        return _read(path, made_from), True
    fitted = fit(model, job)
    errors = {}
    with Progress(disable=not job.progress) as bar:
        for name, records in {"test": job.split.test, "large": job.split.large}.items():
            task = bar.add_task(f"{TITLES[model]}, {name}", total=len(records))
            predicted = fitted.predict(records, partial(bar.advance, task))
            errors[name] = ((predicted - energies(records)) * _KCAL_PER_MOL).tolist()
    if not np.isfinite(errors["test"] + errors["large"]).all():
        raise InputError(f"{TITLES[model]} diverged: its energies are not finite; try a lower learning rate")
    cost = (fitted.steps, fitted.batch_size, fitted.seconds, fitted.n_parameters)
    result = Result(model, *cost, **errors, made_from=made_from)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return result, False


def _read(path: Path, made_from: dict[str, Any]) -> Result:
    """Read a result, and refuse one that was made from something else."""
    try:
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not a result of this benchmark ({error}); remove it") from error
    keys = sorted(made_from.keys() | result.made_from.keys())
    different = [key for key in keys if made_from.get(key) != result.made_from.get(key)]
    if different:
        raise InputError(
            f"{path} was made with another {', '.join(different)}; remove it, or give another --output folder"
        )
    return result
