"""What the training of all models shares: the network with its average, and the data of a run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ase_mlwave.models.training.sampler import EpochSampler

__all__ = ["RunData", "TrainedModule"]

#: Least number of molecules that are validated at a time.
_VALIDATED = 32


class Items(Protocol):
    """Molecules in order."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class RunData:
    """Give batches whose order depends on the seed alone.

    Parameters
    ----------
    train, valid : with a length and items by index
        Molecules to learn from and to validate on.
    join : callable
        Joins a list of these to a batch.
    batch_size : int
        Molecules per batch.
    seed : int
        Of the order.
    """

    def __init__(
        self, train: Items, valid: Items, join: Callable[[list[Any]], Any], *, batch_size: int, seed: int
    ) -> None:
        self.train_set, self.valid_set, self.join = train, valid, join
        self.batch_size, self.seed = batch_size, seed

    def train_batches(self, span: range, *, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Give the batches of a span of steps, those of one of ``world_size`` processes."""
        sampler = EpochSampler(
            len(self.train_set),
            self.batch_size,
            span.stop,
            seed=self.seed,
            epoch=0,
            start=span.start,
            rank=rank,
            world_size=world_size,
        )
        for indices in sampler:
            yield self.join([self.train_set[index] for index in indices])

    def valid_batches(self) -> Iterator[tuple[int, Any]]:
        """Give the validation molecules in their order: (number of molecules, batch)."""
        size = max(_VALIDATED, self.batch_size)
        for start in range(0, len(self.valid_set), size):
            systems = [self.valid_set[i] for i in range(start, min(start + size, len(self.valid_set)))]
            yield len(systems), self.join(systems)


class TrainedModule(nn.Module):
    """Hold the network that is trained and the average of its weights.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.average: Any = deepcopy(network).requires_grad_(False)

    @abstractmethod
    def training_step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Give what is logged of a batch, ``"loss"`` (which is minimised) among it."""

    @abstractmethod
    def validation_step(self, network: Any, batch: Any) -> dict[str, Tensor]:
        """Give means over a batch: ``"loss"``, by which weights are chosen, and errors whose names end in a unit."""

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Replace the average by ``decay`` times itself plus the rest of the present weights."""
        update = get_ema_multi_avg_fn(decay)
        update(list(self.average.parameters()), list(self.network.parameters()), 0)
