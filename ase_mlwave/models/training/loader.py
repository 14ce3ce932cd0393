"""Batches of a run: their order, and a thread that makes the next ones while the network works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import torch

from ase_mlwave.models.training.packing import PackedBatch
from ase_mlwave.models.training.sampler import EpochSampler

__all__ = ["Items", "RunData", "ahead", "chunks"]

T = TypeVar("T")

#: Least number of molecules that are validated at a time.
_VALIDATED = 32
_CPU = torch.device("cpu")
#: Batches that are made ahead of the one in work.
_AHEAD = 2


def ahead(items: Iterator[T], n: int = _AHEAD) -> Generator[T, None, None]:
    """Let a thread compute the next items while one is worked with.

    Parameters
    ----------
    items : iterator
        Asked by that thread alone.
    n : int
        Items that wait at most.

    Yields
    ------
    the items, in their order
        What raises there is raised here, in its turn; the thread ends with this iterator.
    """
    end: Any = object()
    with ThreadPoolExecutor(1, "batches") as thread:
        pending = deque(thread.submit(next, items, end) for _ in range(n))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(thread.submit(next, items, end))
                yield item
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


class Items(Protocol):
    """Molecules in order."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class RunData:
    """Give batches whose order depends on the seed alone.

    Parameters
    ----------
    train, valid : with a length and items by index
        Molecules to learn from and to validate on; read when they are needed.
    join : callable
        Joins a list of these to a batch.
    batch_size : int
        Molecules per batch.
    seed : int
        Of the order.
    sizes : sequence of int, optional
        Of the molecules to learn from, for ``bucketing``.
    bucketing : int
        Batches that are drawn together and divided by size, see `EpochSampler`.
    """

    def __init__(
        self,
        train: Items,
        valid: Items,
        join: Callable[[list[Any]], Any],
        *,
        batch_size: int,
        seed: int,
        sizes: Sequence[int] = (),
        bucketing: int = 1,
    ) -> None:
        self.train_set, self.valid_set, self.join = train, valid, join
        self.batch_size, self.seed = batch_size, seed
        self.sizes, self.bucketing = sizes, bucketing
        self.n_validated = max(1, min(len(valid), max(_VALIDATED, batch_size)))
        """Molecules that are validated at a time."""

    def train_batches(
        self, span: range, device: torch.device = _CPU, *, rank: int = 0, world_size: int = 1
    ) -> Generator[Any, None, None]:
        """Give the batches of a span of steps on a device, those of one of ``world_size`` processes."""
        sampler = EpochSampler(
            len(self.train_set),
            self.batch_size,
            span.stop,
            seed=self.seed,
            epoch=0,
            start=span.start,
            rank=rank,
            world_size=world_size,
            sizes=self.sizes,
            bucketing=self.bucketing,
        )
        return self._on_device(([self.train_set[index] for index in indices] for indices in sampler), device)

    def valid_batches(self, device: torch.device = _CPU) -> Iterator[tuple[int, Any]]:
        """Give the validation molecules in their order: (number of molecules, batch)."""
        n, size = len(self.valid_set), self.n_validated
        sizes = (min(size, n - start) for start in range(0, n, size))
        return zip(sizes, self._on_device(chunks(self.valid_set, size), device), strict=True)

    def _on_device(self, chosen: Iterator[list[Any]], device: torch.device) -> Generator[Any, None, None]:
        """Join molecules to batches, ahead of the one in work."""
        batches = ahead(PackedBatch(self.join(some), device) for some in chosen)
        try:
            for batch in batches:
                yield batch.unpack()
        finally:
            batches.close()


def chunks(items: Items, size: int) -> Iterator[list[Any]]:
    """Give items in their order, so many at a time."""
    for start in range(0, len(items), size):
        yield [items[index] for index in range(start, min(start + size, len(items)))]
