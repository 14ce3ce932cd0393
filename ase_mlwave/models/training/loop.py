"""The loop around any model's module: steps, validations, interrupts, checkpoints, and what a run leaves behind."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from ase.calculators.calculator import CalculationFailed, InputError
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch import Tensor

from ase_mlwave.models.training.bar import TrainingBar
from ase_mlwave.models.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from ase_mlwave.models.training.loader import RunData
from ase_mlwave.models.training.metrics import write_metrics
from ase_mlwave.models.training.module import TrainedModule
from ase_mlwave.models.training.settings import RunSettings, Schedule
from ase_mlwave.models.training.stopping import StopRequest, TrainingInterrupted, stop_request
from ase_mlwave.plotting.training import AVERAGE, TRAINED, draw_learning_curve, readable

__all__ = ["fit"]

#: Least seconds between two drawings of the learning curve.
_DRAWING_PAUSE = 5.0
#: What is validated: how the names of its errors begin -> what it is.
_WEIGHTS = {AVERAGE: "averaged", TRAINED: "trained"}


def fit(module: TrainedModule, data: RunData, settings: RunSettings, *, progress: bool) -> str | None:
    """Train, going on from the last checkpoint where there is one.

    Parameters
    ----------
    module, data
        The model's. The network has the best weights afterwards: the trained ones or their average, at the validation
        with the smallest loss.
    settings : RunSettings
        Written to ``output/settings.json``.
    progress : bool
        Show how far it is.

    Returns
    -------
    str or None
        Which weights were kept, in words; None on all processes but the first.

    Raises
    ------
    TrainingInterrupted
        After Ctrl-C or SIGTERM: the checkpoint is written, and the same call goes on from it.
    CalculationFailed
        If the loss is not a number.
    InputError
        If the checkpoint is of another network.
    """
    strategy = "auto" if settings.devices == 1 else "ddp_find_unused_parameters_true"  # heads of absent elements
    fabric = Fabric(accelerator=settings.accelerator, devices=settings.devices, strategy=strategy)
    fabric.launch()
    if fabric.is_global_zero:
        settings.write()
    run = _Run(fabric, module, data, settings)
    shown = progress and fabric.is_global_zero
    with stop_request() as stop, TrainingBar("training", settings.steps, done=run.step, shown=shown) as bar:
        run.go_on(bar, stop)
    module.cpu()
    module.network.load_state_dict(run.best["weights"])
    return run.best_in_words() if fabric.is_global_zero else None


class _Run:
    """Hold the state of a run, which is whole between two steps."""

    def __init__(self, fabric: Fabric, module: TrainedModule, data: RunData, settings: RunSettings) -> None:
        self.fabric, self.module, self.data, self.settings = fabric, module, data, settings
        self.schedule = Schedule(settings.optimiser, settings.steps)
        self.output = Path(settings.output)
        self.step = self.validated = 0
        self.sums: dict[str, Tensor] = {}
        self.metrics: dict[str, dict[int, float]] = {}
        self.best: dict[str, Any] = {"loss": math.inf, "step": 0, "which": AVERAGE, "weights": {}}
        self._tensorboard = _tensorboard(self.output)
        self._step_done = True
        self._drawn_at = -math.inf
        hyper = settings.optimiser  # the learning rate is set at every step
        optimiser = torch.optim.AdamW(
            module.network.parameters(), hyper.learning_rate, hyper.betas, weight_decay=hyper.weight_decay, fused=True
        )
        self.wrapped, self.optimiser = fabric.setup(module, optimiser)
        self._read(read_checkpoint(checkpoint_path(self.output)), optimiser)
        self._written = time.monotonic()

    # --- steps ------------------------------------------------------------------------------------------------------

    def go_on(self, bar: TrainingBar, stop: StopRequest) -> None:
        """Do the steps that are left; leave a checkpoint however it ends."""
        every, total, fabric = self.settings.steps_per_epoch, self.settings.steps, self.fabric
        span = range(self.step, total)
        batches = self.data.train_batches(span, fabric.device, rank=fabric.global_rank, world_size=fabric.world_size)
        try:
            while True:
                if self.step > self.validated and (self.step % every == 0 or self.step >= total):
                    self._validate(bar, stop)
                if self._stops(stop):
                    raise KeyboardInterrupt
                batch = next(batches, None)
                if batch is None:
                    break
                self._step(batch)
                bar.advance()
        except torch.OutOfMemoryError as error:
            raise CalculationFailed(
                f"the device's memory does not hold the batch after step {self.step}. Write batch_size="
                f"{max(1, self.settings.batch_size // 2)} and another folder, output={self.settings.output}-2"
            ) from error
        except KeyboardInterrupt as interrupt:
            self._write()
            where = "" if self._step_done else ", in the middle of the next: the last checkpoint counts"
            raise TrainingInterrupted(f"stopped after step {self.step} of {total}{where}") from interrupt
        finally:
            batches.close()
        self._write()

    def _step(self, batch: Any) -> None:
        """Do one step."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.learning_rate(self.step)
        self.optimiser.zero_grad()
        terms = self.wrapped.training_step(batch, self.step)
        self.fabric.backward(terms["loss"], inputs=self.module.trained)  # not of positions, which forces leave behind
        self.fabric.clip_gradients(
            self.wrapped, self.optimiser, max_norm=self.settings.optimiser.gradient_clip, error_if_nonfinite=False
        )
        self._step_done = False
        self.optimiser.step()
        self.module.update_average(self.schedule.average_decay(self.step))
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
        self.step += 1
        self._step_done = True
        minutes = self.settings.checkpoint_minutes
        if minutes and time.monotonic() - self._written >= 60 * minutes:
            self._write()

    def _stops(self, stop: StopRequest) -> bool:
        """Tell whether one of the processes is asked to stop."""
        if self.fabric.world_size == 1:
            return bool(stop)
        return bool(self.fabric.strategy.reduce_boolean_decision(bool(stop), all=False))

    # --- validation -------------------------------------------------------------------------------------------------

    def _validate(self, bar: TrainingBar, stop: StopRequest) -> None:
        """Measure the weights and their average, keep the better, and show it; nothing at all if asked to stop."""
        since = max(1, self.step - self.validated)
        measured = {f"train/{name}": self._mean(total) / since for name, total in self.sums.items()}
        if not math.isfinite(measured["train/loss"]):
            raise CalculationFailed(_advice(self.step, self.settings))
        networks = {AVERAGE: self.module.average, TRAINED: self.module.network}
        for kind, network in networks.items():
            errors = self._errors(network, stop)
            if errors is None:
                return
            measured |= {kind + name: value for name, value in errors.items()}
        for kind, network in networks.items():
            if measured[f"{kind}loss"] < self.best["loss"]:
                weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
                self.best = {"loss": measured[f"{kind}loss"], "step": self.step, "which": kind, "weights": weights}
        measured["learning_rate"] = self.schedule.learning_rate(self.step - 1)
        for name, value in measured.items():
            self.metrics.setdefault(name, {})[self.step] = value
        self.validated, self.sums = self.step, {}
        better = min(networks, key=lambda kind: measured[f"{kind}loss"])
        bar.note(", ".join(_worded(name, value) for name, value in measured.items() if _is_error(name, better)))
        self._leave(measured)

    def _mean(self, value: Tensor) -> float:
        """Average over the processes."""
        mean: Any = self.fabric.all_reduce(value, reduce_op="mean")
        return float(mean)

    def _errors(self, network: Any, stop: StopRequest) -> dict[str, float] | None:
        """Average errors over the validation molecules, half as many at a time where the memory does not hold them."""
        while True:
            try:
                return self._averages(network, stop)
            except torch.OutOfMemoryError:
                if self.data.n_validated == 1 or self.fabric.world_size > 1:  # processes keep in step
                    raise
            self.data.n_validated //= 2

    @torch.no_grad()
    def _averages(self, network: Any, stop: StopRequest) -> dict[str, float] | None:
        """Average errors over the validation molecules; None if asked to stop before the end."""
        sums: dict[str, float] = {}
        total = 0
        for n, batch in self.data.valid_batches(self.fabric.device):
            if self._stops(stop):
                return None
            for name, value in self.module.validation_step(network, batch).items():
                sums[name] = sums.get(name, 0.0) + n * float(value)
            total += n
        return {name: value / total for name, value in sums.items()}

    def _leave(self, measured: dict[str, float]) -> None:
        """Write table, picture and, where it is due, the checkpoint."""
        if self.fabric.is_global_zero:
            write_metrics(self.output / "metrics", self.metrics)
            if self._tensorboard is not None:
                self._tensorboard.log_metrics(measured, self.step)
                self._tensorboard.save()
            if self.step >= self.settings.steps or time.monotonic() - self._drawn_at >= _DRAWING_PAUSE:
                draw_learning_curve(self.metrics, self.output / "learning_curve.png")
                self._drawn_at = time.monotonic()
        if not self.settings.checkpoint_minutes:
            self._write()

    def best_in_words(self) -> str:
        """Say which weights are the best, and how good."""
        which, step = self.best["which"], self.best["step"]
        errors = [_worded(name, values[step]) for name, values in self.metrics.items() if _is_error(name, which)]
        return f"the {_WEIGHTS[which]} weights of step {step}, the best on validation ({', '.join(errors)})"

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write the checkpoint, unless a step was broken off in the middle."""
        self._written = time.monotonic()
        if self._step_done and self.fabric.is_global_zero:
            state = {
                "step": self.step,
                "validated": self.validated,
                "module": self.module.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "sums": self.sums,
                "metrics": self.metrics,
                "best": self.best,
            }
            write_checkpoint(checkpoint_path(self.output), state)

    def _read(self, state: dict[str, Any] | None, optimiser: torch.optim.Optimizer) -> None:
        """Take over the state of a checkpoint."""
        if state is None:
            return
        try:
            self.module.load_state_dict(state["module"])
            optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{checkpoint_path(self.output)} is of a run with other model settings; give those, or another output "
                "folder"
            ) from error
        self.step, self.validated, self.sums = state["step"], state["validated"], state["sums"]
        self.metrics, self.best = state["metrics"], state["best"]


def _tensorboard(output: Path) -> TensorBoardLogger | None:
    """Return a logger where TensorBoard is installed."""
    try:
        return TensorBoardLogger(output, name="", version="tensorboard")
    except ModuleNotFoundError:
        return None


def _is_error(name: str, kind: str) -> bool:
    """Tell whether a metric is a validation error, not the loss, of one kind of weights."""
    return name.startswith(kind) and name != f"{kind}loss"


def _worded(name: str, value: float) -> str:
    """Write a metric in words: ``"hamiltonian 312 µHa"``."""
    quantity, unit = readable(name)
    return f"{quantity} {value:.3g} {unit}".rstrip()


def _advice(step: int, settings: RunSettings) -> str:
    slower = f"optimiser.learning_rate={settings.optimiser.learning_rate / 3:.2g}"
    return (
        f"the loss is not a number after step {step}: the learning rate is too high for these data. Write {slower} and "
        f"another folder, output={settings.output}-2"
    )
