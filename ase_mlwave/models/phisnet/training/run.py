"""Train a PhiSNet from settings: ``mlwave train`` in one Python call."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Dataset
from ase_mlwave.models.domain.limits import limits_of
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.module import PhiSNetData, PhiSNetModule
from ase_mlwave.models.phisnet.training.prepared import PreparedDataset
from ase_mlwave.models.phisnet.training.settings import TrainingSettings
from ase_mlwave.models.phisnet.training.statistics import fit_domain, fit_statistics, shift_energies
from ase_mlwave.models.training.bar import TrainingBar
from ase_mlwave.models.training.checks import check_dataset, check_label, first_card, refuse_another_run
from ase_mlwave.models.training.data import charges_and_spins, read_training_data
from ase_mlwave.models.training.loop import fit

__all__ = ["train"]


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
    if any(record.spin for record in dataset):
        raise InputError(f"{dataset.source} has molecules with unpaired electrons; a PhiSNet is for closed shells")
    training, validation = dataset.split(settings.train_split), dataset.split(settings.valid_split)
    for part in (training, validation):
        _check_labels(part, settings)
    n_molecules = len(training) + len(validation)
    with TrainingBar("integrals", n_molecules, shown=progress) as bar:
        data = PhiSNetData(_prepared(training, settings, bar), _prepared(validation, settings, bar), settings)
    network = _initial_network(settings, data.train_set)
    kept = fit(PhiSNetModule(network, settings), data, settings, progress=progress)
    if kept is not None:
        title = f"A PhiSNet for {', '.join(settings.model.elements)} at {settings.model.level}"
        source = TrainingData(source=Path(dataset.source).name, sha256=training.content_hash(), n_records=len(training))
        thresholds = fit_domain(network, data.train_set, data.valid_set)
        card = first_card(settings, title, kept)
        limits = limits_of(thresholds)
        charges, spins = charges_and_spins(training)
        # Energies that no term of the loss asked for are no better than chance.
        level = "wavefunction" if settings.loss.energy or settings.loss.forces else "functional"
        folder = ModelFolder.pack(
            "phisnet",
            network,
            training_data=source,
            card=card,
            thresholds=thresholds,
            limits=limits,
            charges=charges,
            spins=spins,
            defaults={"energy": level},
        )
        folder.save(Path(settings.output) / "model")
    return Path(settings.output) / "model"


def _check_labels(dataset: Dataset, settings: TrainingSettings) -> None:
    """Refuse molecules without the labels that the loss needs."""
    loss = settings.loss
    if loss.hamiltonian or loss.alignment:
        have = ["hamiltonian" in record.matrices for record in dataset]
        instead = "loss.hamiltonian=0 loss.alignment=0 loss.energy=1 loss.forces=1"
        check_label(dataset, have, "Hamiltonian matrices", f"{instead} to learn energies and forces alone")
    if loss.energy:
        check_label(dataset, [record.energy is not None for record in dataset], "energies", "loss.energy=0")
    if loss.forces:
        check_label(dataset, [record.forces is not None for record in dataset], "forces", "loss.forces=0")


def _prepared(dataset: Dataset, settings: TrainingSettings, bar: TrainingBar) -> PreparedDataset:
    model = settings.model
    return PreparedDataset(
        dataset,
        model.basis,
        model.baseline,
        derivatives=settings.loss.forces > 0,
        short_range=model.short_range,
        progress=bar.advance,
    )


def _initial_network(settings: TrainingSettings, training: PreparedDataset) -> PhiSNet:
    """Make a new network with the statistics of the data, or one with the weights of another model."""
    if settings.start_from is not None:
        network = ModelFolder.load(settings.start_from).build()
        if not isinstance(network, PhiSNet):
            raise InputError(f"start_from={settings.start_from!r} is not a PhiSNet")
        fixed = {"level"}
        given, wanted = network.config.model_dump(exclude=fixed), settings.model.model_dump(exclude=fixed)
        different = sorted(key for key in wanted if wanted[key] != given[key])
        if different:
            words = " ".join(f'"model.{key}={json.dumps(given[key])}"' for key in different)
            raise InputError(
                f"start_from={settings.start_from!r} has other model settings: {', '.join(different)}; write {words}"
            )
        network.config = settings.model
        network.train().requires_grad_(True)
        if settings.fit_statistics:
            shift_energies(network, training)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = PhiSNet(settings.model)
        if settings.fit_statistics:
            fit_statistics(network, training)
    return network.cast(getattr(torch, settings.precision))
