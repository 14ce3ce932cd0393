"""The order of molecules, as a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

__all__ = ["EpochSampler"]


class EpochSampler(Sampler[list[int]]):
    """Draw batches for one epoch of a fixed number of steps, as a function of seed and epoch alone.

    Parameters
    ----------
    n : int
        Size of the data set.
    batch_size, steps : int
        Molecules per batch, and batches.
    seed, epoch : int
        What the order depends on: a resumed run sees the same batches as one that was never interrupted.
    total : int, optional
        Batches of the whole run, where the last epoch stops.
    start : int
        Batches of the run that are done already.
    rank, world_size : int
        Of this process, for several devices: each draws its own part of a batch of ``world_size * batch_size``.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        steps: int,
        *,
        seed: int,
        epoch: int,
        total: int | None = None,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        end = (epoch + 1) * steps if total is None else min(total, (epoch + 1) * steps)
        self.n, self.batch_size, self.span = n, batch_size, range(max(start, epoch * steps), end)
        self.seed, self.rank, self.world_size = seed, rank, world_size

    def __len__(self) -> int:
        return len(self.span)

    def __iter__(self) -> Iterator[list[int]]:
        wide = self.batch_size * self.world_size
        for step in self.span:
            drawn = [self._molecule(i) for i in range(step * wide, (step + 1) * wide)]
            yield drawn[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]

    def _molecule(self, i: int) -> int:
        """Give the i-th molecule of an endless row of shuffled passes through the data."""
        return int(self._order(i // self.n)[i % self.n])

    def _order(self, round_: int) -> Sequence[int]:
        cached: tuple[int, Sequence[int]] | None = getattr(self, "_cached", None)
        if cached is None or cached[0] != round_:
            cached = (round_, np.random.default_rng([self.seed, round_]).permutation(self.n).tolist())
            self._cached = cached
        return cached[1]
