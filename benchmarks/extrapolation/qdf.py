"""The quantum deep field with quadrature, trained by ``mlwave train``'s Python call."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.models.qdf.training.run import train
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.yaml_settings import parse_settings
from ase_mlwave.units import HARTREE
from benchmarks.extrapolation.budget import cpu_seconds, steps_within
from benchmarks.extrapolation.models import Fitted, Job

__all__ = ["check_settings", "fit_qdf", "run_settings"]

#: Validations in a run, for its learning curve: at most so many, and so few that steps take nearly all of the time.
_VALIDATIONS, _STEPS_BETWEEN = 10, 50
#: Part of the budget for steps of gradient descent; the readout's fit, whose time depends on the molecules, is about
#: the other one. The report says what both took.
_SHARE_OF_STEPS = 0.5

#: Loss and readout where the user gives none: energies alone.
_LOSS: dict[str, float] = {"energy": 5.0, "forces": 0.0}
_READOUT: dict[str, float] = {"directions": 0, "orientations": 1}

#: Settings that are the benchmark's own.
_FIXED = {"kind", "data", "output", "steps", "steps_per_epoch", "seed", "accelerator", "devices", "start_from"}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that are the benchmark's own, and those that ``mlwave train`` would refuse.

    Parameters
    ----------
    settings : mapping
        As in the YAML file of ``mlwave train``.

    Raises
    ------
    InputError
        With the names that are not allowed, or what is wrong with a value.
    """
    inner = {"model": ("elements", "level"), "loss": ("forces",)}
    taken = sorted(_FIXED & settings.keys())
    taken += [f"{part}.{name}" for part, names in inner.items() for name in names if name in _part(settings, part)]
    if taken:
        raise InputError(f"the benchmark itself chooses {', '.join(taken)}: leave it out of --qdf-settings")
    parse_settings(TrainingSettings, _complete(settings, Path("data.db"), Path("run"), ("H",), "none", 100, 0))


def run_settings(job: Job, data: Path, output: Path, steps: int, *, hohenberg_kohn: bool) -> TrainingSettings:
    """Write down a run.

    Parameters
    ----------
    job : Job
        Molecules, seed, and settings beyond the defaults.
    data : Path
        File with the training and validation molecules.
    output : Path
        Folder of the run.
    steps : int
        Optimiser steps.
    hohenberg_kohn : bool
        Keep the Hohenberg-Kohn term of the loss.

    Returns
    -------
    TrainingSettings
        Energies alone are learned; references are the least-squares fit to the training energies. Warm-up and the
        average of weights span a tenth of the run, where that is less than their defaults.
    """
    split = job.split
    values = _complete(job.settings, data, output, split.elements, split.level, steps, job.seed)
    if not hohenberg_kohn:
        values["loss"] = {**values["loss"], "potential": 0.0}
    return parse_settings(TrainingSettings, values)


def fit_qdf(job: Job, *, hohenberg_kohn: bool) -> Fitted:
    """Train a quantum deep field within the budget.

    Parameters
    ----------
    job : Job
        On what, and how long; ``job.folder`` keeps the run, whose model folder is ``run/model``.
    hohenberg_kohn : bool
        Keep the Hohenberg-Kohn term of the loss.

    Returns
    -------
    Fitted
        Its time has all of ``mlwave train`` in it: reading, validation and checkpoints too.
    """
    data, output = job.folder / "molecules.db", job.folder / "run"
    data.unlink(missing_ok=True)
    shutil.rmtree(output, ignore_errors=True)  # of a run that was interrupted
    job.folder.mkdir(parents=True, exist_ok=True)
    write_dataset(data, job.split.dataset())

    def trial(steps: int) -> None:
        with TemporaryDirectory() as folder:
            settings = run_settings(job, data, Path(folder), steps, hohenberg_kohn=hohenberg_kohn)
            train(settings.model_copy(update={"readout": None}), progress=False)

    steps = steps_within(_SHARE_OF_STEPS * job.budget, trial)
    settings = run_settings(job, data, output, steps, hohenberg_kohn=hohenberg_kohn)
    folder, seconds = cpu_seconds(lambda: train(settings, progress=job.progress))
    calculator = QDFCalculator(folder, device="cpu", dtype="float32", outside="warn")
    n_parameters = sum(p.numel() for member in calculator.members for p in member.network.parameters())

    def predict(records: Sequence[Record], advance: Callable[[int], None]) -> NDArray[np.float64]:
        atoms = [atoms_from_record(record) for record in records]
        return np.array([r["energy"] for r in calculator.predict(atoms, ["energy"], progress=advance)]) / HARTREE

    return Fitted(predict, settings.steps, settings.batch_size, seconds, n_parameters)


def _complete(
    given: Mapping[str, Any], data: Path, output: Path, elements: Sequence[str], level: str, steps: int, seed: int
) -> dict[str, Any]:
    """Add what the benchmark chooses to what the user gave."""
    return {
        **given,
        "data": str(data),
        "output": str(output),
        "model": {**_part(given, "model"), "elements": list(elements), "level": level},
        "loss": {**_default("loss"), **_LOSS, **_part(given, "loss")},
        "readout": {**_READOUT, **_part(given, "readout")},
        "optimiser": dict(_part(given, "optimiser")),
        "steps": steps,
        "steps_per_epoch": math.ceil(steps / max(1, min(_VALIDATIONS, steps // _STEPS_BETWEEN))),
        "seed": seed,
        "accelerator": "cpu",
    }


def _default(name: str) -> dict[str, Any]:
    """Return the defaults of a group of settings."""
    default: dict[str, Any] = TrainingSettings.model_fields[name].get_default(call_default_factory=True).model_dump()
    return default


def _part(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = settings.get(name) or {}
    if not isinstance(part, Mapping):
        raise InputError(f"the setting {name!r} must be a mapping, it is {part!r}")
    return part
