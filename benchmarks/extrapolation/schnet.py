"""The rival: SchNet as PyTorch Geometric has it, on the complete graph of each molecule within the cutoff.

Source: Schuett et al., J. Chem. Phys. 148, 241722 (2018); width and depth are those of that paper for QM9, cutoff and
learning rate are the best of a few that were tried for a minute each on QM7: held-out errors of 1.8 kcal/mol with 5 A,
2.5 with the library's 10 A.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ase_mlwave.data.record import Record
from ase_mlwave.models.training.sampler import EpochSampler
from ase_mlwave.systems.batch import collate
from ase_mlwave.units import BOHR
from benchmarks.common import bar, cpu_seconds
from benchmarks.extrapolation.models import Fitted, Job, steps_within
from benchmarks.extrapolation.split import Array, atom_references, composition, energies

#: Molecules that are predicted together.
_AT_A_TIME = 32


@dataclass(frozen=True)
class SchNetSettings:
    """Sizes of the network and of its training."""

    features: int = 128  # width of atoms' features and of filters
    interactions: int = 6  # layers
    gaussians: int = 50  # radial functions
    cutoff: float = 5.0  # reach of a filter, Angstrom
    learning_rate: float = 2e-3  # highest learning rate of AdamW; it falls linearly to zero
    batch_size: int = 16  # molecules in a step


@dataclass(frozen=True)
class Scales:
    """What the network's output is multiplied by and added to: the sum over atoms, and the spread around it."""

    numbers: tuple[int, ...]
    references: Array  # (n_elements,), Hartree
    unit: float  # standard deviation, over training molecules, of what is left per atom, Hartree

    @classmethod
    def of(cls, records: Sequence[Record]) -> Scales:
        """Fit to training molecules."""
        numbers = tuple(sorted({z for record in records for z in record.numbers.tolist()}))
        references = atom_references(records, numbers)
        left = energies(records) - composition(records, numbers) @ references
        return cls(numbers, references, float((left / [len(r) for r in records]).std()) or 1.0)

    def atoms(self, records: Sequence[Record]) -> Array:
        """Return the sum over atoms (B,), Hartree."""
        total: Array = composition(records, self.numbers) @ self.references
        return total


def build(settings: SchNetSettings, seed: int) -> torch.nn.Module:
    """Make a network with random weights, float32."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # the library still calls torch.jit.script
        from torch_geometric.nn.models import SchNet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: torch.nn.Module = SchNet(
            hidden_channels=settings.features,
            num_filters=settings.features,
            num_interactions=settings.interactions,
            num_gaussians=settings.gaussians,
            cutoff=settings.cutoff,
            interaction_graph=lambda *_: None,  # see `forward`
        )
    return network


def forward(network: Any, records: Sequence[Record]) -> Tensor:
    """Evaluate the network (B,), with the pairs that the package finds."""
    batch = collate(records, network.cutoff / BOHR)
    positions, edges = (batch.positions * BOHR).float(), torch.stack([batch.second, batch.first])
    lengths = (positions[edges[0]] - positions[edges[1]]).norm(dim=1)
    network.interaction_graph = lambda *_: (edges, lengths)
    output: Tensor = network(batch.numbers, positions, batch.system)[:, 0]
    return output


def train(job: Job, settings: SchNetSettings, scales: Scales, steps: int, advance: Callable[[], None]) -> Any:
    """Train for a number of steps, ``advance`` called after each; return the average of weights over the last tenth.

    The loss (mean absolute error per atom), the order of molecules, the optimiser, its schedule, the gradient's largest
    norm and the average of weights are those of the quantum deep field.
    """
    records = job.split.train
    network = build(settings, job.seed)
    targets = torch.from_numpy((energies(records) - scales.atoms(records)) / scales.unit).float()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(min(0.999, max(0.0, 1 - 10 / steps))))
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-5)
    warmup = max(1, min(100, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1.0, (k + 1) / warmup) * (1 - k / steps))
    for chosen in EpochSampler(len(records), settings.batch_size, steps, seed=job.seed, epoch=0):
        some = [records[i] for i in chosen]
        sizes = torch.tensor([len(record) for record in some])
        loss = ((forward(network, some) - targets[chosen]) / sizes).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        advance()
    return average.module.eval().requires_grad_(False)


def fit_schnet(job: Job, settings: SchNetSettings = SchNetSettings()) -> Fitted:
    """Train SchNet within the budget."""
    scales = Scales.of(job.split.train)
    steps = steps_within(job.budget, lambda steps: train(job, settings, scales, steps, lambda: None))
    with bar(job.progress) as progress:
        task = progress.add_task("SchNet", total=steps)
        network, seconds = cpu_seconds(lambda: train(job, settings, scales, steps, lambda: progress.advance(task)))
    n_parameters = sum(p.numel() for p in network.parameters())
    return Fitted(lambda *given: predict(network, scales, *given), steps, settings.batch_size, seconds, n_parameters)


def predict(network: Any, scales: Scales, records: Sequence[Record], advance: Callable[[int], None]) -> Array:
    """Predict energies (B,), Hartree, and say how many are done."""
    parts = []
    for start in range(0, len(records), _AT_A_TIME):
        chosen = records[start : start + _AT_A_TIME]
        parts.append(forward(network, chosen).double().numpy())
        advance(len(chosen))
    total: Array = np.concatenate(parts) * scales.unit + scales.atoms(records)
    return total
