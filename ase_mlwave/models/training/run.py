"""One training run of any kind of model: what the kinds do differently is in the hooks that they fill in."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from ase.calculators.calculator import InputError
from torch import nn

from ase_mlwave.console import Console
from ase_mlwave.data.record import Dataset
from ase_mlwave.models.files import check_place
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.kinds import find_kind
from ase_mlwave.models.training.bar import TrainingBar
from ase_mlwave.models.training.checkpoint import checkpoint_path
from ase_mlwave.models.training.checks import check_dataset, first_card
from ase_mlwave.models.training.data import charges_and_spins, read_training_data
from ase_mlwave.models.training.loader import Items, RunData
from ase_mlwave.models.training.loop import fit
from ase_mlwave.models.training.module import TrainedModule
from ase_mlwave.models.training.settings import DataSettings, RunSettings

__all__ = ["NetworkTraining", "Trained", "Training"]

S = TypeVar("S", bound=DataSettings)
R = TypeVar("R", bound=RunSettings)
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Trained:
    """A new model, and what its folder says of it."""

    network: Any
    how: str
    """Begins the card: ``"Fitted by `mlwave train` to energies of 42 molecules,"`` (of the split so and so)."""
    remark: str = ""
    """Ends the first paragraph of the card."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """As `ModelFolder.pack` takes them."""


class Training(ABC, Generic[S]):
    """Train one kind of model: a class derived from this fills in the hooks, and `train` is the run.

    Parameters
    ----------
    settings : DataSettings
        Of the kind.
    resume : bool
        Go on with what the output folder holds.
    progress : bool
        Show how far it is.
    """

    def __init__(self, settings: S, *, resume: bool, progress: bool) -> None:
        self.settings, self.resume, self.progress = settings, resume, progress

    @classmethod
    def train(cls, settings: S, *, resume: bool = False, progress: bool = True) -> Path:
        """Train a model and write its folder: ``mlwave train`` in one Python call.

        Parameters
        ----------
        settings : DataSettings
            What to train, on what, and how long.
        resume : bool
            Go on from the last checkpoint in ``settings.output``; without one, start. A fit without steps is done anew.
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
        (``test_resumed_run_equals_uninterrupted``). Data and labels are checked before anything is computed.
        """
        return cls(settings, resume=resume, progress=progress)._run()

    def _run(self) -> Path:
        settings = self.settings
        self.refuse_another_run()
        dataset = self.read()
        check_dataset(dataset, settings.model.numbers, settings.model.level)
        training = dataset.split(settings.train_split)
        validation = dataset.split(settings.valid_split) if settings.valid_split else None
        for part in (training, validation):
            if part is not None:
                self.check(part)
        check_place(Path(settings.output))
        folder = Path(settings.output) / "model"
        trained = self.fit(training, validation)
        if trained is not None:  # else one of several processes: the first has the model
            self._pack(trained, training).save(folder)
            if validation is not None:
                self._measure(folder, validation)
        return folder

    def _pack(self, trained: Trained, training: Dataset) -> ModelFolder:
        name = Path(training.source).name
        how = f"{trained.how} the split `{self.settings.train_split}` of `{name}`"
        charges, spins = charges_and_spins(training)
        return ModelFolder.pack(
            self.settings.kind,
            trained.network,
            training_data=TrainingData(source=name, sha256=training.content_hash(), n_records=len(training)),
            card=first_card(self.title, how, trained.remark, find_kind(self.settings.kind, "the run").citation),
            thresholds=trained.thresholds,
            limits=trained.limits,
            defaults=trained.defaults,
            charges=charges,
            spins=spins,
        )

    def _measure(self, folder: Path, validation: Dataset) -> None:
        """Measure the new model as its kind does, and say what was found."""
        kind = find_kind(self.settings.kind, "the run")
        if kind.after_training is None:
            return
        with ExitStack() as bars:

            def counter(quantity: str, total: int) -> Callable[[int], None]:
                bars.close()  # one bar at a time
                return bars.enter_context(TrainingBar(f"measuring {quantity}", total, shown=self.progress)).advance

            report = kind.load("after_training")(folder, validation, progress=counter)
        Console().print(report, soft_wrap=True, highlight=False)

    # --- hooks ------------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def title(self) -> str:
        """Heading of the card."""

    @abstractmethod
    def fit(self, training: Dataset, validation: Dataset | None) -> Trained | None:
        """Make the model; None on all processes but the first."""

    def read(self) -> Dataset:
        """Read the data of the run."""
        return read_training_data(self.settings)

    def check(self, part: Dataset) -> None:
        """Refuse, with ``InputError``, molecules of one split that cannot be learned from, before any work."""

    def refuse_another_run(self) -> None:
        """Raise ``InputError`` if the output folder holds a run that is not to be resumed."""
        output = self.settings.output
        if checkpoint_path(output).exists() and not self.resume:
            raise InputError(
                f"{output} holds a training run already; give --resume to go on, or another output folder: "
                f"output={output}-2"
            )


class NetworkTraining(Training[R]):
    """Train a network in steps of gradient descent."""

    @abstractmethod
    def prepare(self, training: Dataset, validation: Dataset) -> tuple[TrainedModule, RunData]:
        """Make what is trained, and the batches that it is trained on."""

    @abstractmethod
    def finish(self, trained: Trained, training: Dataset, validation: Dataset) -> Trained:
        """Add to a network with its best weights what is learned after the steps: thresholds, limits, defaults."""

    def fit(self, training: Dataset, validation: Dataset | None) -> Trained | None:
        """Prepare, do the steps, finish."""
        if validation is None:
            raise InputError("a network is trained with validation molecules; write valid_split=NAME")
        settings = self.settings
        module, data = self.prepare(training, validation)
        best = fit(module, data, settings, progress=self.progress)
        if best is None:
            return None
        how = f"Trained by `mlwave train` for {settings.steps} steps of {settings.batch_size} molecules on"
        return self.finish(Trained(module.network, how, f" Kept are {best}."), training, validation)

    def batches(self, train: Items, valid: Items, join: Callable[[list[Any]], Any], sizes: Sequence[int]) -> RunData:
        """Feed what is learned from and validated on; ``sizes`` are of the first, for buckets."""
        settings = self.settings
        options: Any = {"batch_size": settings.batch_size, "seed": settings.seed, "bucketing": settings.bucketing}
        return RunData(train, valid, join, sizes=sizes, **options)

    def initial_network(
        self,
        network_class: type[N],
        name: str,
        *,
        free: Set[str] = frozenset({"level"}),
        grown: Callable[[N, Any], N] | None = None,
    ) -> N:
        """Make a network with new weights, or with those of the model ``start_from``.

        Parameters
        ----------
        network_class : type
            Made from ``settings.model``.
        name : str
            What such a model is called, for messages.
        free : set of str
            Settings in which that model may differ.
        grown : callable, optional
            Makes of that model's network and ``settings.model`` one that predicts the same and can learn more.

        Returns
        -------
        network_class

        Raises
        ------
        InputError
            If ``start_from`` is another kind of model, or differs in other settings.
        """
        start, config = self.settings.start_from, self.settings.model
        if start is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.settings.seed)
                untrained: N = network_class(config)
            return untrained
        network: Any = ModelFolder.load(start).build()
        if not issubclass(type(network), network_class):
            raise InputError(f"start_from={start!r} is not {name}")
        network = network if grown is None else grown(network, config)
        theirs, ours = network.config.model_dump(exclude=free), config.model_dump(exclude=free)
        different = sorted(key for key in ours if ours[key] != theirs[key])
        if different:
            words = " ".join(f'"model.{key}={json.dumps(theirs[key])}"' for key in different)
            raise InputError(f"start_from={start!r} has other model settings: {', '.join(different)}; write {words}")
        network.config = config
        trained: N = network.train().requires_grad_(True)
        return trained
