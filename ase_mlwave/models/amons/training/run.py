"""Fit a model to a data set from settings: ``mlwave train`` with ``kind: amons`` in one Python call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.calculator import InputError
from matplotlib.figure import Figure

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.amons.fitting import Fit, fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.models.amons.thresholds import library_limits
from ase_mlwave.models.amons.training.settings import TrainingSettings
from ase_mlwave.models.card import ERRORS_BEGIN, ERRORS_END
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.training.bar import training_bar
from ase_mlwave.models.training.checks import check_dataset
from ase_mlwave.models.training.data import charges_and_spins, read_training_data
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

__all__ = ["train"]

#: Molecules that are predicted at a time.
_BATCH = 32


@dataclass(frozen=True)
class _Point:
    """Errors with a part of the training set."""

    n_molecules: int
    energy: float
    """meV per atom."""
    forces: float | None
    """meV/Angstrom."""


def train(settings: TrainingSettings, *, resume: bool = False, progress: bool = True) -> Path:
    """Fit a model and write a model folder.

    Parameters
    ----------
    settings : TrainingSettings
        What to fit, and to what.
    resume : bool
        Do it again where the output folder holds a run; a fit takes minutes, and has no state to go on from.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The model folder, ``output/model``.

    Raises
    ------
    InputError
        If the data do not fit the settings, or ``output`` holds a model and ``resume`` is not set.
    """
    output = Path(settings.output)
    if (output / "model").exists() and not resume:
        raise InputError(f"{output} holds a model already; give --resume to fit anew, or another output folder")
    dataset = read_training_data(settings)
    check_dataset(dataset, settings.model.numbers, settings.model.level)
    training = dataset.split(settings.train_split)
    validation = dataset.split(settings.valid_split) if settings.valid_split else None
    output.mkdir(parents=True, exist_ok=True)
    (output / "settings.json").write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    fit = _fit(training.records, settings, progress)
    if validation is not None:
        points = [_errors(_fit(part, settings, progress), part, validation) for part in _parts(training, settings)]
        points.append(_errors(fit, training.records, validation))
        _draw(points, output / "learning_curve.png")
        curve = [vars(point) for point in points]
        (output / "learning_curve.json").write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
    source = TrainingData(source=Path(dataset.source).name, sha256=training.content_hash(), n_records=len(training))
    charges, spins = charges_and_spins(training)
    packed = ModelFolder.pack(
        "amons",
        fit.model,
        training_data=source,
        card=_card(settings, training),
        thresholds=fit.thresholds,
        charges=charges,
        spins=spins,
        limits=library_limits(fit.thresholds),
    )
    return packed.save(output / "model")


def _parts(training: Dataset, settings: TrainingSettings) -> list[list[Record]]:
    """Take shares of the training set at random, each part of the next; those that lack an element are left out."""
    order = np.random.default_rng(settings.seed).permutation(len(training)).tolist()
    sizes = sorted({max(1, round(share * len(training))) for share in settings.curve})
    parts = [[training.records[index] for index in sorted(order[:size])] for size in sizes if size < len(training)]
    wanted = set(settings.model.numbers)
    return [part for part in parts if {z for record in part for z in record.numbers.tolist()} == wanted]


def _fit(records: Sequence[Record], settings: TrainingSettings, progress: bool) -> Fit:
    with training_bar(f"fitting {len(records)} molecules", shown=progress) as start:
        counter: Callable[[int], None] = start(len(records))
        return fit_amons(
            records,
            settings.model.level,
            settings.fit,
            representation=settings.model.slatm(),
            free_atoms=dict.fromkeys(settings.model.numbers, 0.0),  # the shortest fit where compositions allow many
            seed=settings.seed,
            progress=counter,
        )


def _errors(fit: Fit, training: Sequence[Record], validation: Dataset) -> _Point:
    """Measure a fit on the validation molecules."""
    records = list(validation.records)
    energies, forces = [], []
    for start in range(0, len(records), _BATCH):
        some = records[start : start + _BATCH]
        found = predict_batch(fit.model, [Geometry(r.numbers, r.positions) for r in some], forces=True)
        for one, record in zip(found, some, strict=True):
            if record.energy is not None:
                energies.append(abs(one.energy - record.energy) / len(record))
            if record.forces is not None and one.forces is not None:
                forces.append(np.abs(one.forces - record.forces).ravel())
    per_atom = 1e3 * HARTREE * float(np.mean(energies))
    components = 1e3 * HARTREE_PER_BOHR * float(np.mean(np.concatenate(forces))) if forces else None
    return _Point(len(training), per_atom, components)


def _draw(points: Sequence[_Point], picture: Path) -> None:
    """Draw errors against the number of molecules, logarithmically."""
    shown = [("energies (meV per atom)", [point.energy for point in points])]
    forces = [point.forces for point in points if point.forces is not None]
    if forces:
        shown.append(("forces (meV/Å)", forces))
    sizes = [point.n_molecules for point in points]
    figure = Figure(figsize=(4.2 * len(shown), 3.4), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axes.loglog(sizes, values, "o-", lw=1.3)
        axes.set(xlabel="training molecules", title=f"mean absolute error of {name}")
        axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
        axes.minorticks_off()
        axes.grid(visible=True, which="both", alpha=0.25)
        for size, value in zip(sizes, values, strict=True):
            axes.annotate(f"{value:.3g}", (size, value), textcoords="offset points", xytext=(0, 6), ha="center")
        axes.margins(x=0.12, y=0.15)
        axes.set_yticks([])
    figure.savefig(picture, dpi=120)


def _card(settings: TrainingSettings, training: Dataset) -> str:
    """Write the first version of a model card; `mlwave evaluate --write-card` adds the errors."""
    elements = ", ".join(settings.model.elements)
    learned = "energies and forces" if any(record.forces is not None for record in training) else "energies"
    return (
        f"# Amons of {elements} at {settings.model.level}\n\n"
        f"Fitted by `mlwave train` to {learned} of {len(training)} molecules, the split `{settings.train_split}` of "
        f"`{Path(settings.data).name}`; all settings are in `config.json` and in the run's `settings.json`."
        f"\n\n## Errors\n\n{ERRORS_BEGIN}\n{ERRORS_END}\n"
    )
