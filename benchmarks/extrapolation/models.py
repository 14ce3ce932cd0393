"""The models that are compared, behind one call: train within a budget, then predict."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
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
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.qdf.training.run import train
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.yaml_settings import parse_settings
from ase_mlwave.units import HARTREE
from benchmarks.common import cpu_seconds
from benchmarks.extrapolation.split import SizeSplit, atom_references, composition

Array = NDArray[np.float64]

#: Model -> how it is called in tables and plots.
TITLES = {
    "qdf": "QDF",
    "qdf-no-potential": "QDF without Hohenberg-Kohn term",
    "schnet": "SchNet",
    "atoms": "sum over atoms",
}
MODELS = tuple(TITLES)

#: Steps of the first trial beyond the shortest run, of the second at most, and the share of the budget that it takes.
_FIRST, _SECOND, _SHARE = 10, 200, 0.03
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


@dataclass(frozen=True)
class Job:
    """What a model may learn from, and how long."""

    split: SizeSplit  # molecules
    budget: float  # CPU-seconds of training
    seed: int  # of weights and of the order of molecules
    folder: Path  # where the run may keep files
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the quantum deep field's training, beyond what the benchmark sets."""
    progress: bool = True  # show a progress bar


@dataclass(frozen=True)
class Fitted:
    """A trained model."""

    predict: Callable[[Sequence[Record], Callable[[int], None]], Array]
    """Molecules (B) and a function that is told how many are done -> energies (B,), Hartree."""
    steps: int  # optimiser steps
    batch_size: int  # molecules in each
    seconds: float  # CPU-seconds of training
    n_parameters: int  # learned numbers


def check_models(names: Sequence[str]) -> None:
    """Refuse models that are unknown or whose library is not installed, before any work."""
    if not names or any(name not in MODELS for name in names):
        raise InputError(f"--models was {' '.join(names)!r}; the models are {', '.join(MODELS)}")
    if "schnet" in names and find_spec("torch_geometric") is None:
        raise InputError(
            "SchNet comes from torch-geometric, which is not installed: pip install 'ase-mlwave[benchmarks]', or leave "
            f"it out with --models {' '.join(name for name in MODELS if name != 'schnet')}"
        )


def fit(name: str, job: Job) -> Fitted:
    """Train one of `MODELS`."""
    if name == "atoms":
        return fit_atoms(job)
    if name == "schnet":
        from benchmarks.extrapolation.schnet import fit_schnet

        return fit_schnet(job)
    return fit_qdf(job, hohenberg_kohn=name == "qdf")


def steps_within(budget: float, run: Callable[[int], object]) -> int:
    """Find how many steps a budget of CPU-seconds allows, from trials whose cost does not count; at least 1.

    Trials of different length, each from the start, tell the cost of a step from what every run pays once
    (``test_steps_fill_the_budget``).
    """
    run(1)  # what is loaded and compiled at the first call
    _, shortest = cpu_seconds(lambda: run(1))
    _, longer = cpu_seconds(lambda: run(1 + _FIRST))
    per_step = max((longer - shortest) / _FIRST, 1e-5)
    more = min(int(_SHARE * budget / per_step), _SECOND)
    if more > _FIRST:
        _, longest = cpu_seconds(lambda: run(1 + more))
        per_step = max((longest - shortest) / more, 1e-5)
    return max(1, int((budget - max(0.0, shortest - per_step)) / per_step))


def fit_atoms(job: Job) -> Fitted:
    """Fit the sum over atoms alone: what the other models have to beat, and what is subtracted for all of them."""
    numbers = sorted({z for record in job.split.train for z in record.numbers.tolist()})
    references = atom_references(job.split.train, numbers)
    return Fitted(
        lambda records, advance: composition(records, numbers) @ references, 0, len(job.split.train), 0.0, len(numbers)
    )


# --- the quantum deep field with quadrature, trained by mlwave train's Python call ------------------------------------


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that are the benchmark's own, and those that ``mlwave train`` would refuse."""
    inner = {"model": ("elements", "level"), "loss": ("forces",)}
    taken = sorted(_FIXED & settings.keys())
    taken += [f"{part}.{name}" for part, names in inner.items() for name in names if name in _part(settings, part)]
    if taken:
        raise InputError(f"the benchmark itself chooses {', '.join(taken)}: leave it out of --qdf-settings")
    parse_settings(TrainingSettings, _complete(settings, Path("data.db"), Path("run"), ("H",), "none", 100, 0))


def run_settings(job: Job, data: Path, output: Path, steps: int, *, hohenberg_kohn: bool) -> TrainingSettings:
    """Write down a run on a file of molecules, with or without the Hohenberg-Kohn term of the loss.

    Energies alone are learned; references are the least-squares fit to the training energies.
    """
    split = job.split
    values = _complete(job.settings, data, output, split.elements, split.level, steps, job.seed)
    if not hohenberg_kohn:
        values["loss"] = {**values["loss"], "potential": 0.0}
    return parse_settings(TrainingSettings, values)


def fit_qdf(job: Job, *, hohenberg_kohn: bool) -> Fitted:
    """Train a quantum deep field within the budget; ``job.folder`` keeps the run.

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

    def predict(records: Sequence[Record], advance: Callable[[int], None]) -> Array:
        atoms = [atoms_from_record(record) for record in records]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)  # it is what is measured
            return np.array([r["energy"] for r in calculator.predict(atoms, ["energy"], progress=advance)]) / HARTREE

    return Fitted(predict, settings.steps, settings.batch_size, seconds, n_parameters)


def _complete(
    given: Mapping[str, Any], data: Path, output: Path, elements: Sequence[str], level: str, steps: int, seed: int
) -> dict[str, Any]:
    """Add what the benchmark chooses to what the user gave."""
    loss = TrainingSettings.model_fields["loss"].get_default(call_default_factory=True).model_dump()
    return {
        **given,
        "data": str(data),
        "output": str(output),
        "model": {**_part(given, "model"), "elements": list(elements), "level": level},
        "loss": {**loss, **_LOSS, **_part(given, "loss")},
        "readout": {**_READOUT, **_part(given, "readout")},
        "optimiser": dict(_part(given, "optimiser")),
        "steps": steps,
        "steps_per_epoch": math.ceil(steps / max(1, min(_VALIDATIONS, steps // _STEPS_BETWEEN))),
        "seed": seed,
        "accelerator": "cpu",
    }


def _part(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = settings.get(name) or {}
    if not isinstance(part, Mapping):
        raise InputError(f"the setting {name!r} must be a mapping, it is {part!r}")
    return part
