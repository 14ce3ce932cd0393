"""Train a PhiSNet from settings: ``mlwave train`` in one Python call."""

from __future__ import annotations

from pathlib import Path

import torch
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Dataset
from ase_mlwave.domain.limits import limits_of
from ase_mlwave.phisnet.model import PhiSNet
from ase_mlwave.phisnet.training.module import PhiSNetData, PhiSNetModule
from ase_mlwave.phisnet.training.prepared import PreparedDataset
from ase_mlwave.phisnet.training.settings import TrainingSettings
from ase_mlwave.phisnet.training.statistics import fit_domain, fit_statistics, shift_energies
from ase_mlwave.training.data import charges_and_spins, read_training_data
from ase_mlwave.training.loop import check_dataset, first_card, fit, refuse_another_run
from ase_mlwave.zoo import ModelFolder, TrainingData

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
        If the run was interrupted; ``resume`` goes on from its last checkpoint.

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
    data = PhiSNetData(_prepared(training, settings), _prepared(validation, settings), settings)
    network = _initial_network(settings, data.train_set)
    steps = fit(PhiSNetModule(network, settings), data, settings, progress=progress)
    if steps is not None:
        title = f"A PhiSNet for {', '.join(settings.model.elements)} at {settings.model.level}"
        source = TrainingData(source=Path(dataset.source).name, sha256=training.content_hash(), n_records=len(training))
        thresholds = fit_domain(network, data.train_set, data.valid_set)
        card = first_card(settings, title, steps)
        limits = limits_of(thresholds)
        charges, spins = charges_and_spins(training)
        folder = ModelFolder.pack(
            "phisnet",
            network,
            training_data=source,
            card=card,
            thresholds=thresholds,
            limits=limits,
            charges=charges,
            spins=spins,
        )
        folder.save(Path(settings.output) / "model")
    return Path(settings.output) / "model"


def _prepared(dataset: Dataset, settings: TrainingSettings) -> PreparedDataset:
    model = settings.model
    derivatives = settings.loss.forces > 0
    return PreparedDataset(dataset, model.basis, model.baseline, derivatives=derivatives, short_range=model.short_range)


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
            raise InputError(f"start_from={settings.start_from!r} has other model settings: {', '.join(different)}")
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
