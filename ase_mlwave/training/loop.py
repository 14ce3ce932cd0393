"""The Lightning loop around any model's module: trainer, interrupts, checkpoints, and what a run leaves behind."""

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

from ase_mlwave.data.metadata import differ_in_forces_only
from ase_mlwave.data.record import Dataset
from ase_mlwave.model_card import ERRORS_BEGIN, ERRORS_END
from ase_mlwave.training.checkpoint import EpochCheckpoint
from ase_mlwave.training.curve import draw_learning_curve, keep_metrics
from ase_mlwave.training.settings import RunSettings

__all__ = ["check_dataset", "first_card", "fit", "refuse_another_run"]


def refuse_another_run(settings: RunSettings, *, resume: bool) -> None:
    """Raise ``InputError`` if the output folder holds a run that is not to be resumed."""
    if _checkpoint(settings).exists() and not resume:
        raise InputError(
            f"{settings.output} holds a training run already; give --resume to go on, or another output folder"
        )


def check_dataset(dataset: Dataset, numbers: tuple[int, ...], level: str) -> None:
    """Check data against a model's settings.

    Parameters
    ----------
    dataset : Dataset
        What was read.
    numbers : tuple of int
        Atomic numbers that the model knows.
    level : str
        Level of theory that the model is for.

    Raises
    ------
    InputError
        If the data have other elements or another level of theory; forces with and without the response of the
        integration grid are both accepted.
    """
    unknown = sorted({int(z) for record in dataset for z in record.numbers} - set(numbers))
    if unknown:
        raise InputError(f"the data have elements with atomic numbers {unknown} that model.elements lacks")
    if dataset.level not in ("", level) and not differ_in_forces_only(dataset.level, level):
        raise InputError(f"the data are at {dataset.level!r} but model.level is {level!r}")


def fit(
    module: pl.LightningModule, data: pl.LightningDataModule, settings: RunSettings, *, progress: bool
) -> int | None:
    """Train, going on from the last checkpoint where there is one.

    Parameters
    ----------
    module, data
        The model's; the module has the average of weights afterwards.
    settings : RunSettings
        Written to ``output/settings.json``.
    progress : bool
        Show a progress bar.

    Returns
    -------
    int or None
        Optimiser steps done; None on all processes but the first.

    Raises
    ------
    KeyboardInterrupt
        If the run was interrupted; it goes on from its last checkpoint.
    """
    output, checkpoint = Path(settings.output), _checkpoint(settings)
    with _quiet():
        trainer = _trainer(settings, output, progress=progress)
    output.mkdir(parents=True, exist_ok=True)
    (output / "settings.json").write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if checkpoint.exists():
        keep_metrics(output / "metrics")
    with _quiet(), _interruptible(trainer):
        trainer.fit(module, data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=True)
    if not trainer.is_global_zero:
        return None
    averaged = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(averaged)  # also where the run was complete already
    draw_learning_curve(output / "metrics", output / "learning_curve.png")
    return trainer.global_step


def first_card(settings: RunSettings, title: str, steps: int, remark: str = "") -> str:
    """Write the first version of a model card; `mlwave evaluate --write-card` adds the errors."""
    return (
        f"# {title}\n\n"
        f"Trained by `mlwave train` for {steps} steps of {settings.batch_size} molecules on the split "
        f"`{settings.train_split}` of `{Path(settings.data).name}`; all settings are in `config.json` and in the run's "
        f"`settings.json`.{remark}\n\n## Errors\n\n{ERRORS_BEGIN}\n{ERRORS_END}\n"
    )


def _checkpoint(settings: RunSettings) -> Path:
    return Path(settings.output) / "checkpoints" / "last.ckpt"


def _trainer(settings: RunSettings, output: Path, *, progress: bool) -> pl.Trainer:
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
