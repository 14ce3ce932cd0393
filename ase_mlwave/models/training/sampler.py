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
    sizes : sequence of int, (n,)
        Of the molecules, for ``bucketing``.
    bucketing : int
        Batches that are drawn together and then divided by size, to be used in random order; 1 leaves all to chance.
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
        sizes: Sequence[int] = (),
        bucketing: int = 1,
    ) -> None:
        end = (epoch + 1) * steps if total is None else min(total, (epoch + 1) * steps)
        self.n, self.batch_size, self.span = n, batch_size, range(max(start, epoch * steps), end)
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.sizes, self.bucketing = sizes, bucketing

    def __len__(self) -> int:
        return len(self.span)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.span:
            yield self._batch(step)

    def _batch(self, step: int) -> list[int]:
        wide = self.batch_size * self.world_size
        if self.bucketing == 1:
            first = step * wide + self.rank * self.batch_size
            return [self._molecule(i) for i in range(first, first + self.batch_size)]
        bucket, place = divmod(step, self.bucketing)
        n_in_bucket = self.bucketing * wide
        bucket_molecules = [self._molecule(i) for i in range(bucket * n_in_bucket, (bucket + 1) * n_in_bucket)]
        bucket_molecules.sort(key=self.sizes.__getitem__)
        place = int(np.random.default_rng([self.seed, bucket, 1]).permutation(self.bucketing)[place])
        return bucket_molecules[place * wide + self.rank : (place + 1) * wide : self.world_size]

    def _molecule(self, i: int) -> int:
        """Give the i-th molecule of an endless row of shuffled passes through the data."""
        return int(self._order(i // self.n)[i % self.n])

    def _order(self, round_: int) -> Sequence[int]:
        cached: tuple[int, Sequence[int]] | None = getattr(self, "_cached", None)
        if cached is None or cached[0] != round_:
            cached = (round_, np.random.default_rng([self.seed, round_]).permutation(self.n).tolist())
            self._cached = cached
        return cached[1]
