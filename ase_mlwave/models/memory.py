"""Batches that fit the memory of a device: by an estimate of what structures take, and by what others took."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from ase.calculators.calculator import CalculationFailed

from ase_mlwave.systems.system import System

__all__ = ["Batches", "allocated_bytes", "free_bytes"]

S = TypeVar("S", bound=System)
T = TypeVar("T")

#: Part of the free memory that a batch is meant to take: estimates are rough, and memory is never in one piece.
_SHARE = 0.4
#: Ordered pairs of atoms in a batch at most, where a device has long been busy; its results fill the host's memory.
_MOST_PAIRS = 32_768
#: Where Linux tells what is free.
_MEMINFO = Path("/proc/meminfo")


class Batches:
    """Divide structures into batches, and compute these one after the other.

    Parameters
    ----------
    device : torch.device
        Where the model is.
    pairs_on_cpu : int
        Ordered pairs of atoms in a batch at most on CPUs, where small batches keep to the caches.

    Notes
    -----
    A batch takes at most 0.4 of the memory that is free by an estimate, and an estimate is worth what the last batch
    showed that reached a new peak of the device (``test_batches_grow_to_what_is_measured``). Where it was wrong all the
    same, the batch is halved (``test_batch_that_does_not_fit_is_halved``). No result depends on the division.
    """

    def __init__(self, device: torch.device, pairs_on_cpu: int) -> None:
        self.device = device
        self.most_pairs = pairs_on_cpu if device.type == "cpu" else _MOST_PAIRS
        self.scale = 1.0
        """Memory that batches took over the estimates of it."""

    def compute(
        self,
        work: Callable[[list[S]], T],
        systems: Sequence[S],
        bytes_of: Callable[[S], float],
        size: int | None = None,
    ) -> Iterator[tuple[list[S], T]]:
        """Compute all structures.

        Parameters
        ----------
        work : callable
            Computes a batch.
        systems : sequence of System
            In any mixture.
        bytes_of : callable
            Estimates the memory that a structure takes in a batch.
        size : int, optional
            Structures in a batch; by default as many as fit.

        Yields
        ------
        (list of System, result)
            Batch after batch, in order.

        Raises
        ------
        CalculationFailed
            If a single structure does not fit the device's memory.
        """
        start = 0
        while start < len(systems):
            end, estimate = (start + size, 0.0) if size else self._next(systems, start, bytes_of)
            scale, (before, known_peak) = self.scale, allocated_bytes(self.device) if estimate else (0, 0)
            yield from self._halved(work, list(systems[start:end]))
            peak = allocated_bytes(self.device)[1] if estimate and self.scale == scale else 0
            if peak > known_peak:
                self.scale = (peak - before) / estimate
            start = end

    def _next(self, systems: Sequence[S], start: int, bytes_of: Callable[[S], float]) -> tuple[int, float]:
        """Find the end of the batch that begins at a structure, which is in it, and estimate the memory it takes."""
        if len(systems) == 1:
            return 1, 0.0  # whatever it takes: nothing is asked at a step of a simulation
        left, pairs, estimate = _SHARE * free_bytes(self.device) / self.scale, self.most_pairs, 0.0
        for index in range(start, len(systems)):
            pairs -= len(systems[index]) ** 2
            needed = bytes_of(systems[index])
            if index > start and (pairs < 0 or estimate + needed > left):
                return index, estimate
            estimate += needed
        return len(systems), estimate

    def _halved(self, work: Callable[[list[S]], T], batch: list[S]) -> Iterator[tuple[list[S], T]]:
        """Compute a batch, in halves where the memory does not hold it."""
        try:
            result = work(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise CalculationFailed(
                    f"{batch[0].formula} does not fit the device's memory. Take device='cpu' or dtype='float32'."
                ) from error
        else:
            yield batch, result
            return
        self.scale *= 2  # the next batches are smaller from the start
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from self._halved(work, part)


def free_bytes(device: torch.device) -> float:
    """Return the memory that can still be allocated on a device; infinite where nobody tells."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    found = re.search(r"MemAvailable: +(\d+) kB", _MEMINFO.read_text()) if _MEMINFO.exists() else None
    return 1024.0 * int(found[1]) if found and device.type == "cpu" else float("inf")


def allocated_bytes(device: torch.device) -> tuple[int, int]:
    """Return the memory of all tensors on a device, now and at most so far; zero where nobody counts."""
    if device.type != "cuda":
        return 0, 0
    return torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
