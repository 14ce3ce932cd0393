"""The models that are compared, behind one call: train within a budget, then predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.data.record import Record
from benchmarks.extrapolation.split import SizeSplit, composition, energies

__all__ = ["MODELS", "TITLES", "Fitted", "Job", "check_models", "fit"]

Array = NDArray[np.float64]
Predict = Callable[[Sequence[Record], Callable[[int], None]], Array]

#: Model -> how it is called in tables and plots.
TITLES = {
    "qdf": "QDF",
    "qdf-no-potential": "QDF without Hohenberg-Kohn term",
    "schnet": "SchNet",
    "atoms": "sum over atoms",
}
MODELS = tuple(TITLES)


@dataclass(frozen=True)
class Job:
    """What a model may learn from, and how long.

    Parameters
    ----------
    split : SizeSplit
        Molecules.
    budget : float
        CPU-seconds of training.
    seed : int
        Of weights and of the order of molecules.
    folder : Path
        Where the run may keep files.
    settings : mapping
        Settings of the quantum deep field's training, beyond what the benchmark sets.
    progress : bool
        Show a progress bar.
    """

    split: SizeSplit
    budget: float
    seed: int
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = True


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Parameters
    ----------
    predict : callable
        Molecules (B) and a function that is told how many are done -> energies (B,), Hartree.
    steps : int
        Optimiser steps.
    batch_size : int
        Molecules in each.
    seconds : float
        CPU-seconds of training.
    n_parameters : int
        Learned numbers.
    """

    predict: Predict
    steps: int
    batch_size: int
    seconds: float
    n_parameters: int


def check_models(names: Sequence[str]) -> None:
    """Refuse models that are unknown or cannot be had, before any work.

    Parameters
    ----------
    names : sequence of str
        Of `MODELS`.

    Raises
    ------
    InputError
        If a name is unknown, or the library of a model is not installed.
    """
    unknown = [name for name in names if name not in MODELS]
    if unknown or not names:
        raise InputError(f"--models was {' '.join(names)!r}; the models are {', '.join(MODELS)}")
    if "schnet" in names and find_spec("torch_geometric") is None:
        raise InputError(
            "SchNet comes from torch-geometric, which is not installed: pip install 'ase-mlwave[benchmarks]', or leave "
            f"it out with --models {' '.join(name for name in MODELS if name != 'schnet')}"
        )


def fit(name: str, job: Job) -> Fitted:
    """Train a model.

    Parameters
    ----------
    name : str
        One of `MODELS`.
    job : Job
        On what, and how long.

    Returns
    -------
    Fitted
    """
    if name == "atoms":
        return fit_atoms(job)
    if name == "schnet":
        from benchmarks.extrapolation.schnet import fit_schnet

        return fit_schnet(job)
    from benchmarks.extrapolation.qdf import fit_qdf

    return fit_qdf(job, hohenberg_kohn=name == "qdf")


def atom_references(records: Sequence[Record], numbers: Sequence[int]) -> Array:
    """Fit energies by a sum over atoms.

    Parameters
    ----------
    records : sequence of Record, (B,)
        Training molecules.
    numbers : sequence of int
        Atomic numbers.

    Returns
    -------
    (n_elements,)
        Least-squares solution, Hartree: what ``mlwave train`` subtracts by default.
    """
    solution = np.linalg.lstsq(composition(records, numbers), energies(records), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def fit_atoms(job: Job) -> Fitted:
    """Fit the sum over atoms alone: what the other models have to beat, and what is subtracted for all of them."""
    numbers = sorted({z for record in job.split.train for z in record.numbers.tolist()})
    references = atom_references(job.split.train, numbers)

    def predict(records: Sequence[Record], advance: Callable[[int], None]) -> Array:
        advance(len(records))
        total: Array = composition(records, numbers) @ references
        return total

    return Fitted(predict, steps=0, batch_size=len(job.split.train), seconds=0.0, n_parameters=len(numbers))
