"""The models: a sum over atoms, a quantum deep field and SchNet, each alone or beyond a base level of theory.

A base is the same for all: its energies are taken off the labels before a model sees them, and added to what it
predicts. The quantum deep field is the one that ``model.base`` makes, without a repulsion of nuclei of its own.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.models.qdf.inference import predict_batch
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.training.run import QDFTraining
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.run import NetworkTraining, Trained
from ase_mlwave.models.training.sampler import EpochSampler
from ase_mlwave.models.training.yaml_settings import parse_settings
from ase_mlwave.systems.batch import collate
from ase_mlwave.units import BOHR
from benchmarks.extrapolation.molecules import Array, Parts, energies
from benchmarks.kernels import Level

__all__ = ["BATCH", "AtomSum", "beyond", "fit", "fit_qdf", "fit_schnet"]

#: Molecules in a training step, and those that SchNet predicts together.
BATCH, _AT_A_TIME = 16, 32
#: What predicts energies (B,), Hartree, and how many numbers it learned.
Fitted = tuple[Level, int]


def fit(model: str, settings: Mapping[str, Any], parts: Parts, level: str, folder: Path) -> Fitted:
    """Train the model that a name begins with: ``SchNet``, ``QDF``, or else a sum over atoms."""
    if model.startswith("SchNet"):
        return fit_schnet(parts["train"], settings)
    if model.startswith("QDF"):
        return fit_qdf(parts, level, settings, folder)
    atoms = AtomSum(parts["train"])
    return atoms, len(atoms.numbers)


def beyond(parts: Parts, base: Level) -> Parts:
    """Give molecules what their energies have beyond a base level's, Hartree, without forces."""

    def less(records: list[Record]) -> list[Record]:
        pairs = zip(records, energies(records) - base(records), strict=True)
        return [replace(record.unlabelled(), energy=float(energy)) for record, energy in pairs]

    return {name: less(part) for name, part in parts.items()}


class AtomSum:
    """Energies as sums over atoms, fitted to molecules: what ``mlwave train`` subtracts by default."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.numbers = sorted({z for record in records for z in record.numbers.tolist()})
        self.references = np.linalg.lstsq(self._composition(records), energies(records), rcond=None)[0]

    def _composition(self, records: Sequence[Record]) -> Array:
        return np.array([[np.count_nonzero(r.numbers == z) for z in self.numbers] for r in records], dtype=np.float64)

    def __call__(self, records: Sequence[Record]) -> Array:
        """Predict energies (B,), Hartree."""
        total: Array = self._composition(records) @ self.references
        return total


class _QDFTraining(QDFTraining):
    """Training on labels from which the base level, where there is one, is off already."""

    def fit(self, training: Dataset, validation: Dataset | None) -> Trained | None:
        return NetworkTraining.fit(self, training, validation)


def fit_qdf(parts: Parts, level: str, settings: Mapping[str, Any], folder: Path) -> Fitted:
    """Train a quantum deep field as ``mlwave train`` does; its time has reading, validation and checkpoints in it.

    With ``base`` among the settings, labels are what the energies have beyond it.
    """
    data = folder.with_suffix(".db")
    data.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)  # of a run before
    folder.parent.mkdir(parents=True, exist_ok=True)
    records = tuple(record.with_info(split=name) for name in ("train", "valid") for record in parts[name])
    write_dataset(data, Dataset(records, level, folder.name))
    elements = [chemical_symbols[z] for z in AtomSum(parts["train"]).numbers]
    own = {name: value for name, value in settings.items() if name != "base"}
    own |= {"data": str(data), "output": str(folder), "batch_size": BATCH, "accelerator": "cpu"}
    own |= {"model": {**settings["model"], "elements": elements, "level": level, "base": settings.get("base")}}
    run = parse_settings(TrainingSettings, own)
    trained: Any = QDFCalculator(_QDFTraining.train(run, progress=False), device="cpu", dtype="float32")
    network = trained.members[0].network_as(QDF)

    def predict(records: Sequence[Record]) -> Array:
        return np.array([predict_batch(network, [record])[0].energy for record in records])

    return predict, sum(p.numel() for p in network.parameters())


@contextmanager
def _flushing() -> Iterator[None]:
    """Take the smallest numbers for zero: they are tails of SchNet's Gaussians, and take two thirds of its time."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_flushing()
def fit_schnet(records: Sequence[Record], settings: Mapping[str, Any], seed: int = 0) -> Fitted:
    """Train SchNet as PyTorch Geometric has it, float32, on the pairs that the package finds.

    The loss (mean absolute error per atom), the order of molecules, the optimiser, its schedule, the gradient's largest
    norm and the average of weights over the last tenth of the steps are those of the quantum deep field.
    Source: Schuett et al., J. Chem. Phys. 148, 241722 (2018).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # the library still calls torch.jit.script
        from torch_geometric.nn.models import SchNet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = (settings["features"], settings["features"], settings["interactions"])
        network = SchNet(*sizes, cutoff=settings["cutoff"], interaction_graph=lambda *_: None)
    atoms, steps = AtomSum(records), settings["steps"]
    left = energies(records) - atoms(records)
    unit = float((left / [len(record) for record in records]).std()) or 1.0
    targets = torch.from_numpy(left / unit).float()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(min(0.999, max(0.0, 1 - 10 / steps))))
    optimiser = torch.optim.AdamW(network.parameters(), settings["learning_rate"], betas=(0.9, 0.99), weight_decay=1e-5)
    warmup = max(1, min(100, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1.0, (k + 1) / warmup) * (1 - k / steps))
    for chosen in EpochSampler(len(records), BATCH, steps, seed=seed, epoch=0):
        some = [records[i] for i in chosen]
        sizes = torch.tensor([len(record) for record in some])
        loss = ((_forward(network, some) - targets[chosen]) / sizes).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
    trained = average.module.eval().requires_grad_(False)

    @_flushing()
    def predict(records: Sequence[Record]) -> Array:
        starts = range(0, len(records), _AT_A_TIME)
        outputs = torch.cat([_forward(trained, records[start : start + _AT_A_TIME]) for start in starts])
        total: Array = outputs.double().numpy() * unit + atoms(records)
        return total

    return predict, sum(p.numel() for p in network.parameters())


def _forward(network: Any, records: Sequence[Record]) -> Tensor:
    """Evaluate the network (B,)."""
    batch = collate(records, network.cutoff / BOHR)
    positions, edges = (batch.positions * BOHR).float(), torch.stack([batch.second, batch.first])
    lengths = (positions[edges[0]] - positions[edges[1]]).norm(dim=1)
    network.interaction_graph = lambda *_: (edges, lengths)
    output: Tensor = network(batch.numbers, positions, batch.system)[:, 0]
    return output
