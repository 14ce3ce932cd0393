"""What the training of a model of amons is: a fit, and fits to parts of the data for a learning curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.calculator import InputError
from matplotlib.figure import Figure

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.amons.fitting import Fit, fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.thresholds import library_limits
from ase_mlwave.models.amons.training.settings import TrainingSettings
from ase_mlwave.models.training.bar import training_bar
from ase_mlwave.models.training.corrections import check_base, correcting, less_base
from ase_mlwave.models.training.run import Trained, Training
from ase_mlwave.reference.differences import base_level
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

__all__ = ["AmonsTraining", "TrainingSettings", "train"]

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


class AmonsTraining(Training[TrainingSettings]):
    """Fit a library to energies and forces, and draw its learning curve."""

    @property
    def title(self) -> str:
        """Heading of the card."""
        model = self.settings.model
        return f"Amons of {', '.join(model.elements)} at {model.level}{correcting(model.base)}"

    def refuse_another_run(self) -> None:
        """Raise ``InputError`` if the output folder holds a model; a fit takes minutes, and has no state to keep."""
        output = self.settings.output
        if (Path(output) / "model").exists() and not self.resume:
            raise InputError(f"{output} holds a model already; give --resume to fit anew, or another output folder")

    def check(self, part: Dataset) -> None:
        """Refuse molecules that the base level does not serve; or all, where it cannot be had."""
        check_base(self.settings.model.base, part)

    def fit(self, training: Dataset, validation: Dataset | None) -> Trained:
        """Fit to all molecules and, where there are others to validate on, to parts of them."""
        self.settings.write()
        base, output = self.settings.model.base, Path(self.settings.output)
        records = less_base(training, base, shown=self.progress).records
        fit = self._fit(records)
        if validation is not None:
            validated = less_base(validation, base, shown=self.progress).records
            points = [_errors(self._fit(part), part, validated) for part in self._parts(records)]
            points.append(_errors(fit, records, validated))
            _draw(points, output / "learning_curve.png")
            curve = [vars(point) for point in points]
            (output / "learning_curve.json").write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
        learned = "energies and forces" if any(record.forces is not None for record in training) else "energies"
        how = f"Fitted by `mlwave train` to {learned} of {len(training)} molecules,"
        return Trained(fit.model, how, thresholds=fit.thresholds, limits=library_limits(fit.thresholds))

    def _parts(self, records: Sequence[Record]) -> list[list[Record]]:
        """Take shares of the training set at random, each part of the next; those that lack an element are left out."""
        n_records = len(records)
        order = np.random.default_rng(self.settings.seed).permutation(n_records).tolist()
        sizes = sorted({max(1, round(share * n_records)) for share in self.settings.curve})
        parts = [[records[index] for index in sorted(order[:size])] for size in sizes if size < n_records]
        wanted = set(self.settings.model.numbers)
        return [part for part in parts if {z for record in part for z in record.numbers.tolist()} == wanted]

    def _fit(self, records: Sequence[Record]) -> Fit:
        model = self.settings.model
        with training_bar(f"fitting {len(records)} molecules", shown=self.progress) as start:
            return fit_amons(
                records,
                model.level,
                self.settings.fit,
                representation=model.slatm(),
                free_atoms=dict.fromkeys(model.numbers, 0.0),  # the shortest fit where compositions allow many
                base=None if model.base is None else base_level(model.base).name,
                seed=self.settings.seed,
                progress=start(len(records)),
            )


train = AmonsTraining.train


def _errors(fit: Fit, training: Sequence[Record], records: Sequence[Record]) -> _Point:
    """Measure a fit on the validation molecules."""
    energies, forces = [], []
    for start in range(0, len(records), _BATCH):
        some = records[start : start + _BATCH]
        predictions = predict_batch(fit.model, some, forces=True)
        for one, record in zip(predictions, some, strict=True):
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
        for size, value in zip(sizes, values, strict=True):
            axes.annotate(f"{value:.3g}", (size, value), textcoords="offset points", xytext=(0, 6), ha="center")
        axes.margins(x=0.12, y=0.15)
        axes.set_yticks([])  # every point has its number
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(picture, dpi=120)
