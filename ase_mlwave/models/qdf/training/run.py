"""What the training of a quantum deep field adds to a run: its labels, references, loss, readout and domain."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Dataset
from ase_mlwave.models.domain.limits import (
    SURROUNDINGS_LIMIT,
    SURROUNDINGS_THRESHOLD,
    UNCERTAINTY_LIMIT,
    UNCERTAINTY_THRESHOLD,
)
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.training.module import QDFModule, join
from ase_mlwave.models.qdf.training.readout import fit_readout, write_summary
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.bar import training_bar
from ase_mlwave.models.training.corrections import check_base, correcting, less_base
from ase_mlwave.models.training.loader import RunData
from ase_mlwave.models.training.run import NetworkTraining, Trained
from ase_mlwave.systems.batch import collate
from ase_mlwave.units import HARTREE

__all__ = ["QDFTraining", "TrainingSettings", "fit_domain", "train"]


class QDFTraining(NetworkTraining[TrainingSettings]):
    """Train a quantum deep field: the Hohenberg-Kohn map in steps, then the readout in closed form."""

    @property
    def title(self) -> str:
        """Heading of the card."""
        model = self.settings.model
        return f"A quantum deep field for {', '.join(model.elements)} at {model.level}{correcting(model.base)}"

    def check(self, part: Dataset) -> None:
        """Refuse charged molecules, and those without the labels that the loss needs or that the base lacks."""
        if any(record.energy is None for record in part):
            raise InputError(f"{part.source} has molecules without energy; label them with mlwave label")
        if self.settings.loss.forces and all(record.forces is None for record in part):
            raise InputError(f"{part.source} has no forces; label them with mlwave label, or set loss.forces=0")
        charged = next((r for r in part if r.charge or r.spin), None)
        if charged is not None:
            raise InputError(f"{charged.formula} has charge {charged.charge} and spin {charged.spin}; both must be 0")
        check_base(self.settings.model.base, part)

    def fit(self, training: Dataset, validation: Dataset | None) -> Trained | None:
        """Fit to what the base level, if there is one, lacks."""
        base, shown = self.settings.model.base, self.progress
        learned = less_base(training, base, shown=shown)
        return super().fit(learned, validation and less_base(validation, base, shown=shown))

    def prepare(self, training: Dataset, validation: Dataset) -> tuple[QDFModule, RunData]:
        """Make a new network with the atoms' references, or one with the weights of another model."""
        settings = self.settings
        name = "a quantum deep field with quadrature"
        network = self.initial_network(QDF, name, free={"level", "grid_level"})
        references: Any = None
        if settings.references_ev is not None:
            references = np.array([settings.references_ev[e] / HARTREE for e in settings.model.elements])
        elif settings.fit_statistics and settings.start_from is None:
            references = _fitted_references(training, network)
        if references is not None:
            network.references.copy_(torch.from_numpy(references))
        network.cast(getattr(torch, settings.precision))
        batches = partial(join, reach=2 * settings.model.cutoff)
        data = self.batches(training, validation, batches, sizes=[len(record) for record in training])
        turned = settings.seed if settings.rotate else None
        return QDFModule(network, settings.loss, grid_level=settings.grid_level, seed=turned), data

    def finish(self, trained: Trained, training: Dataset, validation: Dataset) -> Trained:
        """Fit the readout where the settings ask for it, and measure the domain."""
        remark = trained.remark + self._fit_readout(trained.network, training, validation)
        thresholds, limits = fit_domain(trained.network, training)
        return replace(trained, remark=remark, thresholds=thresholds, limits=limits)

    def _fit_readout(self, network: QDF, training: Dataset, validation: Dataset) -> str:
        """Fit the readout; return a paragraph for the card."""
        settings, readout = self.settings, self.settings.readout
        if readout is None:
            return ""
        if settings.accelerator != "cpu" and torch.cuda.is_available():
            network.cuda()
        with training_bar("fitting the readout", shown=self.progress) as counter:
            fit = fit_readout(
                network,
                training,
                validation,
                readout,
                seed=settings.seed,
                rotate=settings.rotate,
                fixed_references=settings.references_ev is not None,
                checkpoint=Path(settings.output) / "checkpoints" / "readout.safetensors",
                checkpoint_minutes=settings.checkpoint_minutes,
                progress=counter,
            )
        network.cpu()
        write_summary(fit, Path(settings.output) / "readout.json")
        with_forces = readout.directions and any(record.forces is not None for record in training)
        forces = f"energies and forces along {readout.directions} directions a molecule" if with_forces else "energies"
        return (
            f"\n\nThe readout of the energy functional is the least-squares solution for {forces}, with the penalty "
            f"{fit.penalty:g} that the split `{settings.valid_split}` chose."
        )


train = QDFTraining.train


def fit_domain(network: QDF, training: Dataset) -> tuple[dict[str, float], dict[str, float]]:
    """Learn what training molecules look like.

    Parameters
    ----------
    network : QDF
        Its ``domain`` is set.
    training : Dataset
        What it was trained on.

    Returns
    -------
    thresholds, limits : dict of str to float
        Of ``domain_distance`` and ``energy_uncertainty``, where the settings ask for these measures.
    """
    thresholds, limits = {}, {}
    if network.domain.measures:
        network.domain.fit(training.records)
        thresholds["domain_distance"], limits["domain_distance"] = SURROUNDINGS_THRESHOLD, SURROUNDINGS_LIMIT
    if network.uncertainty is not None:
        thresholds["energy_uncertainty"], limits["energy_uncertainty"] = UNCERTAINTY_THRESHOLD, UNCERTAINTY_LIMIT
    return thresholds, limits


def _fitted_references(dataset: Dataset, network: QDF) -> np.ndarray:
    """Fit energies less pair energies by a sum over atoms, (n_elements,), Hartree; the shortest solution."""
    numbers = network.config.numbers
    composition = np.array([[np.count_nonzero(r.numbers == z) for z in numbers] for r in dataset], dtype=np.float64)
    energies = np.array([r.energy for r in dataset], dtype=np.float64)
    with torch.no_grad():
        pairs = [network.pair_energies(collate([record], 2 * network.config.cutoff)) for record in dataset]
    references: np.ndarray = np.linalg.lstsq(composition, energies - torch.cat(pairs).numpy(), rcond=None)[0]
    return references
