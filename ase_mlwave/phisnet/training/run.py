"""Train a PhiSNet from settings: ``mlwave train`` in one Python call."""

from __future__ import annotations

import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import torch
from ase.calculators.calculator import InputError
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, LearningRateMonitor, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.model_card import ERRORS_BEGIN, ERRORS_END
from ase_mlwave.phisnet.model import PhiSNet
from ase_mlwave.phisnet.training.checkpoint import EpochCheckpoint
from ase_mlwave.phisnet.training.curve import draw_learning_curve, keep_metrics
from ase_mlwave.phisnet.training.module import PhiSNetData, PhiSNetModule
from ase_mlwave.phisnet.training.prepared import PreparedDataset
from ase_mlwave.phisnet.training.settings import TrainingSettings
from ase_mlwave.phisnet.training.statistics import fit_domain, fit_statistics, shift_energies
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
    output = Path(settings.output)
    checkpoint = output / "checkpoints" / "last.ckpt"
    if checkpoint.exists() and not resume:
        raise InputError(f"{output} holds a training run already; give --resume to go on, or another output folder")
    dataset = read_dataset(settings.data)
    training, validation = _splits(dataset, settings)
    data = PhiSNetData(_prepared(training, settings), _prepared(validation, settings), settings)
    network = _initial_network(settings, data.train_set)
    module = PhiSNetModule(network, settings)
    with _quiet():
        trainer = _trainer(settings, output, progress=progress)
    output.mkdir(parents=True, exist_ok=True)
    (output / "settings.json").write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if checkpoint.exists():
        keep_metrics(output / "metrics")
    with _quiet(), _interruptible(trainer):
        trainer.fit(module, data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=True)
    if trainer.is_global_zero:
        averaged = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(averaged)  # also where the run was complete already
        if settings.loss.energy:
            shift_energies(module.network, data.train_set)
        draw_learning_curve(output / "metrics", output / "learning_curve.png")
        card = _card(settings, trainer.global_step)
        source = TrainingData(source=dataset.source, sha256=training.content_hash(), n_records=len(training))
        thresholds = fit_domain(module.network, data.train_set, data.valid_set)
        folder = ModelFolder.pack("phisnet", module.network, training_data=source, card=card, thresholds=thresholds)
        folder.save(output / "model")
    return output / "model"


def _splits(dataset: Dataset, settings: TrainingSettings) -> tuple[Dataset, Dataset]:
    """Check the data against the settings and take its parts."""
    unknown = sorted({int(z) for record in dataset for z in record.numbers} - set(settings.model.numbers))
    if unknown:
        raise InputError(f"the data have elements with atomic numbers {unknown} that model.elements lacks")
    if dataset.level and dataset.level != settings.model.level:
        raise InputError(f"the data are at {dataset.level!r} but model.level is {settings.model.level!r}")
    return dataset.split(settings.train_split), dataset.split(settings.valid_split)


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


def _card(settings: TrainingSettings, steps: int) -> str:
    """Write the first version of the model card; `mlwave evaluate --write-card` adds the errors."""
    elements = ", ".join(settings.model.elements)
    return (
        f"# A PhiSNet for {elements} at {settings.model.level}\n\n"
        f"Trained by `mlwave train` for {steps} steps of {settings.batch_size} molecules on the split "
        f"`{settings.train_split}` of `{Path(settings.data).name}`; all settings are in `config.json` and in the run's "
        f"`settings.json`.\n\n## Errors\n\n{ERRORS_BEGIN}\n{ERRORS_END}\n"
    )


def _trainer(settings: TrainingSettings, output: Path, *, progress: bool) -> pl.Trainer:
    epochs = math.ceil(settings.steps / settings.steps_per_epoch)
    loggers: list[Logger] = [CSVLogger(output, name="", version="metrics")]
    try:
        loggers.append(TensorBoardLogger(output, name="", version="tensorboard"))
    except ModuleNotFoundError:
        logging.getLogger(__name__).info("tensorboard is not installed; curves go to metrics.csv only")
    callbacks: list[Callback] = [
        EMAWeightAveraging(decay=settings.optimiser.ema_decay, use_buffers=False),  # indices have no average
        LearningRateMonitor(),
        EpochCheckpoint(output / "checkpoints" / "last.ckpt", settings.checkpoint_minutes),
    ]
    if progress:
        callbacks.append(RichProgressBar())
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="auto" if settings.devices == 1 else "ddp_find_unused_parameters_true",  # heads of absent elements
        max_epochs=epochs,
        gradient_clip_val=settings.optimiser.gradient_clip,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        inference_mode=False,
        num_sanity_val_steps=0,
        log_every_n_steps=settings.steps_per_epoch,
        logger=loggers,
        callbacks=callbacks,
        enable_progress_bar=progress,
        enable_model_summary=False,
        default_root_dir=output,
    )


@contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Turn the exit that Lightning makes of an interrupt back into one, and let the next one through."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit_:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from exit_
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice on loaders, loggers and services off the screen; errors and other warnings pass."""
    talkative = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    levels = [logger.level for logger in talkative]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # a short last epoch
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")  # Lightning on PyTorch 2.13
        warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")
        try:
            for logger in talkative:
                logger.setLevel(logging.WARNING)
            yield
        finally:
            for logger, level in zip(talkative, levels, strict=True):
                logger.setLevel(level)
