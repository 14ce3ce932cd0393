"""What the training of all models shares: the network with its average, and the data of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ase_mlwave.models.training.sampler import EpochSampler

__all__ = ["RunData", "TrainedModule"]

#: Least number of molecules that are validated at a time.
_VALIDATED = 32


class RunData(ABC):
    """Give batches whose order depends on the seed alone.

    Parameters
    ----------
    train, valid : with a length and items by index
        Molecules to learn from and to validate on.
    settings : RunSettings
        Batch size, seed and steps.
    """

    def __init__(self, train: Any, valid: Any, settings: Any) -> None:
        self.train_set, self.valid_set, self.settings = train, valid, settings

    @abstractmethod
    def join(self, systems: list[Any]) -> Any:
        """Join molecules to a batch."""

    def train_batches(self, start: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Give the batches of the run from step ``start`` on, those of one of ``world_size`` processes."""
        chosen = self.settings
        sampler = EpochSampler(
            len(self.train_set),
            chosen.batch_size,
            chosen.steps,
            seed=chosen.seed,
            epoch=0,
            start=start,
            rank=rank,
            world_size=world_size,
        )
        for indices in sampler:
            yield self.join([self.train_set[index] for index in indices])

    def valid_batches(self) -> Iterator[tuple[int, Any]]:
        """Give the validation molecules in their order: (number of molecules, batch)."""
        size = max(_VALIDATED, self.settings.batch_size)
        for start in range(0, len(self.valid_set), size):
            systems = [self.valid_set[i] for i in range(start, min(start + size, len(self.valid_set)))]
            yield len(systems), self.join(systems)


class TrainedModule(nn.Module):
    """Hold the network that is trained and the average of its weights.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    settings : RunSettings
        Loss and optimiser.
    """

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__()
        self.network: Any = network
        self.average: Any = deepcopy(network).requires_grad_(False)
        self.settings: Any = settings

    @abstractmethod
    def training_step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Give what is logged of a batch, ``"loss"`` (which is minimised) among it."""

    @abstractmethod
    def validation_step(self, network: Any, batch: Any) -> dict[str, Tensor]:
        """Give means over a batch: ``"loss"``, by which weights are chosen, and errors whose names end in a unit."""

    def optimiser(self) -> torch.optim.Optimizer:
        """Build AdamW; the learning rate is set at every step."""
        chosen = self.settings.optimiser
        return torch.optim.AdamW(
            self.network.parameters(), lr=chosen.learning_rate, betas=chosen.betas, weight_decay=chosen.weight_decay
        )

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Replace the average by ``decay`` times itself plus the rest of the present weights."""
        update = get_ema_multi_avg_fn(decay)
        update(list(self.average.parameters()), list(self.network.parameters()), 0)
