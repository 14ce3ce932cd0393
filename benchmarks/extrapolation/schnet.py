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
from ase_mlwave.units import BOHR
from benchmarks.common import bar, cpu_seconds
from benchmarks.extrapolation.models import Fitted, Job, steps_within
from benchmarks.extrapolation.split import Array, atom_references, composition, energies

#: Molecules that are predicted together.
_AT_A_TIME = 32


@dataclass(frozen=True)
class SchNetSettings:
    """Sizes of the network and of its training."""

    features: int = 128
    """Width of atoms' features and of filters."""
    interactions: int = 6
    """Layers."""
    gaussians: int = 50
    """Radial functions."""
    cutoff: float = 5.0
    """Reach of a filter, Angstrom."""
    learning_rate: float = 2e-3
    """Highest learning rate of AdamW; it falls linearly to zero."""
    batch_size: int = 16
    """Molecules in a step."""


@dataclass(frozen=True)
class Scales:
    """What the network's output is multiplied by and added to: the sum over atoms, and the spread around it."""

    numbers: tuple[int, ...]
    """Atomic numbers."""
    references: Array
    """(n_elements,), Hartree."""
    unit: float
    """Standard deviation, over training molecules, of what is left per atom, Hartree."""

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


@dataclass(frozen=True)
class Molecules:
    """A batch: atomic numbers (N,), positions (N, 3) in Angstrom, index of the molecule (N,), numbers of atoms (B,)."""

    numbers: Tensor
    positions: Tensor
    system: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, records: Sequence[Record]) -> Molecules:
        """Join molecules."""
        sizes = torch.tensor([len(record) for record in records])
        return cls(
            torch.from_numpy(np.concatenate([record.numbers for record in records])),
            torch.from_numpy(np.concatenate([record.positions for record in records]) * BOHR).float(),
            torch.repeat_interleave(torch.arange(len(records)), sizes),
            sizes,
        )


def molecule_graph(cutoff: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Make the function that finds the edges of molecules, up to a length in Angstrom.

    Positions (N, 3) and, rising, the index of each atom's molecule (N,) -> edges (2, E), both directions of each pair,
    and their lengths (E,).
    """

    def graph(positions: Tensor, system: Tensor) -> tuple[Tensor, Tensor]:
        sizes = torch.bincount(system)
        partners = sizes[system]  # (N,)
        first = torch.repeat_interleave(torch.arange(len(system)), partners)
        within = torch.arange(len(first)) - torch.repeat_interleave(partners.cumsum(0) - partners, partners)
        second = (sizes.cumsum(0) - sizes)[system[first]] + within
        length = (positions[first] - positions[second]).norm(dim=1)
        kept = (first != second) & (length < cutoff)
        return torch.stack([second[kept], first[kept]]), length[kept]

    return graph


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
            interaction_graph=molecule_graph(settings.cutoff),
        )
    return network


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
        batch = Molecules.of([records[i] for i in chosen])
        output = network(batch.numbers, batch.positions, batch.system)[:, 0]
        loss = ((output - targets[chosen]) / batch.sizes).abs().mean()
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

    return Fitted(
        lambda records, advance: predict(network, scales, records, advance),
        steps,
        settings.batch_size,
        seconds,
        sum(p.numel() for p in network.parameters()),
    )


def predict(network: Any, scales: Scales, records: Sequence[Record], advance: Callable[[int], None]) -> Array:
    """Predict energies (B,), Hartree, and say how many are done."""
    parts = []
    for start in range(0, len(records), _AT_A_TIME):
        chosen = records[start : start + _AT_A_TIME]
        batch = Molecules.of(chosen)
        parts.append(network(batch.numbers, batch.positions, batch.system)[:, 0].double().numpy())
        advance(len(chosen))
    total: Array = np.concatenate(parts) * scales.unit + scales.atoms(records)
    return total
