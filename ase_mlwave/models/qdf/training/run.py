"""Train a quantum deep field from settings: ``mlwave train`` in one Python call."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Dataset
from ase_mlwave.models.domain.limits import SURROUNDINGS_LIMIT, SURROUNDINGS_THRESHOLD
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.qdf.batch import collate
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.training.module import QDFData, QDFModule
from ase_mlwave.models.qdf.training.readout import fit_readout, write_summary
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.bar import training_bar
from ase_mlwave.models.training.checks import check_dataset, first_card, refuse_another_run
from ase_mlwave.models.training.data import read_training_data
from ase_mlwave.models.training.loop import fit
from ase_mlwave.units import HARTREE

__all__ = ["fit_domain", "train"]


def train(settings: TrainingSettings, *, resume: bool = False, progress: bool = True) -> Path:
    """Train a network and write a model folder.

    Parameters
    ----------
    settings : TrainingSettings
        What to train, on what, and how long.
    resume : bool
        Go on from the last checkpoint in ``settings.output``; without one, start.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The model folder, ``output/model``.

    Raises
    ------
    InputError
        If the data do not fit the settings, or ``output`` holds another run and ``resume`` is not set.
    KeyboardInterrupt
        If the run was interrupted: there is a checkpoint, and ``resume`` goes on from it.
    CalculationFailed
        If the loss is not a number.

    Notes
    -----
    A run that was interrupted and resumed gives the weights of one that was not, on the CPU to the last bit
    (``test_resumed_run_equals_uninterrupted``).
    """
    refuse_another_run(settings, resume=resume)
    dataset = read_training_data(settings)
    check_dataset(dataset, settings.model.numbers, settings.model.level)
    training, validation = dataset.split(settings.train_split), dataset.split(settings.valid_split)
    for part in (training, validation):
        _check_labels(part, settings)
    network = _initial_network(settings, training)
    module = QDFModule(network, settings)
    kept = fit(module, QDFData(training, validation, settings), settings, progress=progress)
    if kept is not None:
        summary = _fit_readout(network, training, validation, settings, progress=progress)
        title = f"A quantum deep field for {', '.join(settings.model.elements)} at {settings.model.level}"
        source = TrainingData(source=Path(dataset.source).name, sha256=training.content_hash(), n_records=len(training))
        card = first_card(settings, title, kept, summary)
        thresholds, limits = fit_domain(network, training)
        ModelFolder.pack("qdf", network, training_data=source, card=card, thresholds=thresholds, limits=limits).save(
            Path(settings.output) / "model"
        )
    return Path(settings.output) / "model"


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
        Of ``domain_distance``; empty where the settings ask for no measure.
    """
    if not network.domain.measures:
        return {}, {}
    network.domain.fit(training.records)
    return {"domain_distance": SURROUNDINGS_THRESHOLD}, {"domain_distance": SURROUNDINGS_LIMIT}


def _fit_readout(
    network: QDF, training: Dataset, validation: Dataset, settings: TrainingSettings, *, progress: bool
) -> str:
    """Fit the readout where the settings ask for it; return a paragraph for the card."""
    if settings.readout is None:
        return ""
    chosen = settings.readout
    if settings.accelerator != "cpu" and torch.cuda.is_available():
        network.cuda()
    with training_bar("fitting the readout", shown=progress) as counter:
        fit = fit_readout(
            network,
            training,
            validation,
            chosen,
            seed=settings.seed,
            rotate=settings.rotate,
            fixed_references=settings.references_ev is not None,
            checkpoint=Path(settings.output) / "checkpoints" / "readout.safetensors",
            checkpoint_minutes=settings.checkpoint_minutes,
            progress=counter,
        )
    network.cpu()
    write_summary(fit, Path(settings.output) / "readout.json")
    with_forces = chosen.directions and any(record.forces is not None for record in training)
    forces = f"energies and forces along {chosen.directions} directions a molecule" if with_forces else "energies"
    return (
        f"\n\nThe readout of the energy functional is the least-squares solution for {forces}, with the penalty "
        f"{fit.penalty:g} that the split `{settings.valid_split}` chose."
    )


def _check_labels(dataset: Dataset, settings: TrainingSettings) -> None:
    """Refuse molecules without the labels that the loss needs."""
    if any(record.energy is None for record in dataset):
        raise InputError(f"{dataset.source} has molecules without energy; label them with mlwave label")
    if settings.loss.forces and all(record.forces is None for record in dataset):
        raise InputError(f"{dataset.source} has no forces; label them with mlwave label, or set loss.forces=0")
    if len(dataset) == 0:
        raise InputError(f"{dataset.source} has no molecules in a split that training needs")
    charged = next((r for r in dataset if r.charge or r.spin), None)
    if charged is not None:
        raise InputError(f"{charged.formula} has charge {charged.charge} and spin {charged.spin}; both must be 0")


def _initial_network(settings: TrainingSettings, training: Dataset) -> QDF:
    """Make a new network with the atoms' references, or one with the weights of another model."""
    if settings.start_from is not None:
        network = ModelFolder.load(settings.start_from).build()
        if not isinstance(network, QDF):
            raise InputError(f"start_from={settings.start_from!r} is not a quantum deep field with quadrature")
        free = {"level", "grid_level"}
        given, wanted = network.config.model_dump(exclude=free), settings.model.model_dump(exclude=free)
        different = sorted(key for key in wanted if wanted[key] != given[key])
        if different:
            words = " ".join(f'"model.{key}={json.dumps(given[key])}"' for key in different)
            raise InputError(
                f"start_from={settings.start_from!r} has other model settings: {', '.join(different)}; write {words}"
            )
        network.config = settings.model
        network.train().requires_grad_(True)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = QDF(settings.model)
    if settings.references_ev is not None:
        given_references = [settings.references_ev[e] / HARTREE for e in settings.model.elements]
        network.references.copy_(torch.tensor(given_references, dtype=torch.float64))
    elif settings.fit_statistics and settings.start_from is None:
        network.references.copy_(torch.from_numpy(_fitted_references(training, network)))
    return network.cast(getattr(torch, settings.precision))


def _fitted_references(dataset: Dataset, network: QDF) -> np.ndarray:
    """Fit energies less pair energies by a sum over atoms, (n_elements,), Hartree; the shortest solution."""
    numbers = network.config.numbers
    composition = np.array([[np.count_nonzero(r.numbers == z) for z in numbers] for r in dataset], dtype=np.float64)
    energies = np.array([r.energy for r in dataset], dtype=np.float64)
    with torch.no_grad():
        pairs = [network.pair_energies(collate([(r.numbers, r.positions)], 2 * network.config.cutoff)) for r in dataset]
    references: np.ndarray = np.linalg.lstsq(composition, energies - torch.cat(pairs).numpy(), rcond=None)[0]
    return references
