"""What the training of a PhiSNet adds to a run: its labels, integrals, statistics, loss and thresholds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from ase.calculators.calculator import InputError

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.domain.limits import limits_of
from ase_mlwave.models.folder import ModelFolder, read_config
from ase_mlwave.models.phisnet.compiling import compile_layers
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.penalty import choose_penalty
from ase_mlwave.models.phisnet.training.prepared import MatrixName, Preparation, PreparedDataset, join
from ase_mlwave.models.phisnet.training.settings import LossWeights, TrainingSettings
from ase_mlwave.models.phisnet.training.statistics import (
    fit_baseline_shift,
    fit_domain,
    fit_statistics,
    shift_energies,
)
from ase_mlwave.models.phisnet.widening import grown
from ase_mlwave.models.training.bar import TrainingBar
from ase_mlwave.models.training.cache import Cache
from ase_mlwave.models.training.checkpoint import checkpoint_path
from ase_mlwave.models.training.checks import check_label
from ase_mlwave.models.training.loader import RunData
from ase_mlwave.models.training.run import NetworkTraining, Trained

__all__ = ["PhiSNetTraining", "TrainingSettings", "train"]

#: Settings in which a model may differ from that which it starts from.
_FREE = frozenset({"level", "overlap_penalty", "block_cutoff", "atomic_energies", "baseline_shift"})
#: Bytes of integrals that are kept in memory; more go to a folder of this name beside the output.
_IN_MEMORY, _FOLDER = 10**9, "mlwave-cache"


class PhiSNetTraining(NetworkTraining[TrainingSettings]):
    """Train a PhiSNet on matrices, energies and forces."""

    @property
    def title(self) -> str:
        """Heading of the card."""
        model = self.settings.model
        return f"A PhiSNet for {', '.join(model.elements)} at {model.level}"

    def read(self) -> Dataset:
        """Read the data, and matrices of another level for them where these are named."""
        dataset = super().read()
        if self.settings.matrices is None:
            return dataset
        return dataset.with_matrices(read_dataset(self.settings.matrices))

    def check(self, part: Dataset) -> None:
        """Refuse open shells, and molecules without the labels that the loss needs."""
        if any(record.spin for record in part):
            raise InputError(f"{part.source} has molecules with unpaired electrons; a PhiSNet is for closed shells")
        loss = self.settings.loss
        if loss.hamiltonian or loss.needs_orbitals:
            instead = "loss.hamiltonian=0 loss.occupied=0 loss.alignment=0 loss.density=0 loss.energy=1 loss.forces=1"
            have = ["hamiltonian" in record.matrices for record in part]
            check_label(part, have, "Hamiltonian matrices", f"{instead} to learn energies and forces alone")
        if loss.energy:
            check_label(part, [record.energy is not None for record in part], "energies", "loss.energy=0")
        if loss.forces:
            check_label(part, [record.forces is not None for record in part], "forces", "loss.forces=0")
        if loss.dipole:
            check_label(part, [record.dipole is not None for record in part], "dipoles", "loss.dipole=0")

    def prepare(self, training: Dataset, validation: Dataset) -> tuple[PhiSNetModule, RunData]:
        """Compute baselines and orbitals, and the statistics that a new network begins with."""
        settings = self.settings
        model, loss = settings.model, settings.loss
        network = self._initial_network(training)
        if settings.train_only:
            _freeze_matrices(network, settings.precision)
        preparation = Preparation(
            model.basis,
            model.baseline,
            model.short_range,
            _kept(model, loss),
            network.config.baseline_shift,
            model.auxiliary,
        )
        cache = self._cache(preparation, [*training, *validation])
        n_workers = settings.workers or _n_cpus()
        with TrainingBar("integrals", len(training) + len(validation), shown=self.progress) as bar:
            train, valid = (
                PreparedDataset(
                    _needed(part, model, loss), preparation, cache, n_workers=n_workers, progress=bar.advance
                )
                for part in (training, validation)
            )
        learns_energies = loss.energy > 0 or loss.forces > 0
        has_matrices = any("hamiltonian" in record.matrices for record in training)
        fits = [fit_statistics] if settings.start_from is None and has_matrices else []
        fits += [shift_energies] if learns_energies and (not fits or model.energy_from == "atoms") else []
        if settings.fit_statistics and not checkpoint_path(settings.output).exists():  # which has them
            for fit in fits:
                with TrainingBar("statistics", len(train), shown=self.progress) as bar:
                    fit(network, train, bar.advance)
        mixed = settings.precision == "bf16-mixed"
        network.cast(torch.float32 if mixed else getattr(torch, settings.precision))
        module = PhiSNetModule(network, loss, mixed=mixed)  # with an average of the weights, which is not compiled
        compile_layers(network, settings.compile)
        joined = partial(join, network=network, forces=loss.forces > 0, matrices=loss.needs_matrices)
        data = self.batches(train, valid, joined, sizes=[len(r) for r in training])
        self._prepared = train, valid
        return module, data

    def _pack(self, trained: Trained, training: Dataset) -> ModelFolder:
        """Name what matrices were learned from, too, where energies are of other data."""
        folder = super()._pack(trained, training)
        if self.settings.train_only is not None:
            source = read_config(str(self.settings.start_from)).training_data.source
            matrices = source.removeprefix("matrices: ").partition("; energies: ")[0]  # of energies that go on, too
        elif self.settings.matrices is not None:
            matrices = Path(self.settings.matrices).name
        else:
            return folder
        data = folder.config.training_data
        data = data.model_copy(update={"source": f"matrices: {matrices}; energies: {data.source}"})
        return replace(folder, config=folder.config.model_copy(update={"training_data": data}))

    def _initial_network(self, training: Dataset) -> PhiSNet:
        """Make the network; what is to learn energies begins where their mean is right."""
        settings = self.settings
        network = self.initial_network(PhiSNet, "a PhiSNet", free=_FREE, grown=grown)
        start = None if settings.start_from is None else read_config(settings.start_from).settings
        gained = start is not None and not start.get("atomic_energies", True) and settings.model.atomic_energies
        if gained or (start is None and settings.model.atomic_energies and not settings.loss.hamiltonian):
            network.forget_atomic_energies()
        if settings.fit_statistics and not settings.loss.hamiltonian and not settings.model.atomic_energies:
            shift = settings.model.baseline_shift + fit_baseline_shift(network, training.records)
            network.config = network.config.model_copy(update={"baseline_shift": shift})
        return network

    def _cache(self, preparation: Preparation, records: Sequence[Record]) -> Cache | None:
        """Choose where integrals are kept: in memory where that is enough and nothing else was asked for."""
        folder = self.settings.cache
        size = sum(map(preparation.n_bytes, records))
        if folder is None and size <= _IN_MEMORY:
            return None
        cache = Cache(Path(self.settings.output).parent / _FOLDER if folder is None else Path(folder))
        missing = sum(preparation.n_bytes(r) for r in records if not cache.path(preparation.key(r)).exists())
        free = shutil.disk_usage(cache.folder).free
        if missing > free:
            raise InputError(
                f"{cache.folder} needs {missing / 1e9:.1f} GB for integrals and has {free / 1e9:.1f} GB free; give "
                "cache=FOLDER on another disk"
            )
        return cache

    def finish(self, trained: Trained, training: Dataset, validation: Dataset) -> Trained:
        """Measure the domain, and choose the level of energy and the penalty of dependent functions."""
        if self.settings.train_only:
            return _with_matrices_of(str(self.settings.start_from), trained)
        with TrainingBar("domain", len(training), shown=self.progress) as bar:
            thresholds = fit_domain(trained.network, *self._prepared, bar.advance)
        # Energies that no term of the loss asked for are no better than chance.
        loss = self.settings.loss
        level = "wavefunction" if loss.energy or loss.forces else "functional"
        # Energies were trained with the penalty that the settings say.
        model = self.settings.model
        if level == "functional" and not model.overlap_penalty and model.auxiliary is None:
            penalty = choose_penalty(trained.network, validation.records)
            trained.network.config = trained.network.config.model_copy(update={"overlap_penalty": penalty})
        return replace(trained, thresholds=thresholds, limits=limits_of(thresholds), defaults={"energy": level})


def _kept(model: PhiSNetConfig, loss: LossWeights) -> tuple[MatrixName, ...]:
    """Name the matrices that are computed once; forces need integrals that are functions of the positions."""
    energies = loss.needs_states and not loss.forces and model.energy_from == "matrix"
    matrices = loss.needs_matrices or model.energy_from == "matrix"
    reasons: dict[MatrixName, bool] = {
        "baseline": energies,
        "energy_core": energies,
        "overlap": energies or (model.overlap_head and matrices),
        "core": model.core_head and matrices,
        "orbitals": loss.needs_orbitals and model.auxiliary is None,
        "x": loss.dipole > 0,
        "y": loss.dipole > 0,
        "z": loss.dipole > 0,
    }
    return tuple(name for name, needed in reasons.items() if needed)


def _needed(part: Dataset, model: PhiSNetConfig, loss: LossWeights) -> Sequence[Record]:
    """Leave out matrices where neither the loss nor the energy needs any."""
    if loss.needs_matrices or model.energy_from == "matrix":
        return part.records
    return [replace(record, matrices={}) for record in part]


def _freeze_matrices(network: PhiSNet, precision: str) -> None:
    """Let nothing of a network be trained but its energies.

    Raises
    ------
    InputError
        If its precision is another one, in which its matrices would change.
    """
    theirs = str(network.dtype).removeprefix("torch.")
    if precision.removesuffix("-mixed").replace("bf16", "float32") != theirs:
        raise InputError(f"train_only=energies keeps the model's precision; write precision={theirs}")
    network.requires_grad_(False)
    for part in (network.energy_head, network.energy_features):
        if part is not None:
            part.requires_grad_(True)


def _with_matrices_of(start: str, trained: Trained) -> Trained:
    """Take over what the model whose energies were trained says of its matrices."""
    config = read_config(start)
    remark = f"{trained.remark} Its matrices are those of `{Path(start).name}`: energies alone were trained."
    return replace(
        trained,
        remark=remark,
        thresholds=config.thresholds,
        limits=config.limits,
        defaults={"energy": "wavefunction"},
    )


def _n_cpus() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


train = PhiSNetTraining.train
