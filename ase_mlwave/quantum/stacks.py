"""Square matrices of different sizes, stored one behind the other, as stacks of one size: what linear algebra takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Stack", "Stacks", "uploaded"]

#: A matrix joins a stack if it is at least this share of its largest: padding costs work, and a stack of its own costs
#: the starts of kernels, which are dear on a GPU.
_SHARE, _SHARE_ON_GPU = 0.9, 0.6


@dataclass(frozen=True)
class Stack:
    """Matrices that are padded to one size.

    Parameters
    ----------
    members : tuple of int, (G,)
        Their places in the batch.
    sizes : tuple of int, (G,)
        M_b of each.
    elements : Tensor, (G M^2,)
        Where the elements are in the flat batch; behind its end, where a zero is, for padding.
    """

    members: tuple[int, ...]
    sizes: tuple[int, ...]
    elements: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of matrices, and twice the size of the largest."""
        return len(self.sizes), max(self.sizes), max(self.sizes)


@dataclass(frozen=True)
class Stacks:
    """How B matrices of the sizes M_b, stored one behind the other, are made to stacks, and back.

    Parameters
    ----------
    sizes : tuple of int, (B,)
        M_b.
    stacks : tuple of Stack
        Each matrix in one of them.
    order : Tensor, (B,)
        Place of each matrix among those of all stacks.
    elements : Tensor, (sum M_b^2,)
        Place of each element among those of all stacks.
    rows : Tensor, (sum M_b,)
        Place of each row among those of all stacks.
    """

    sizes: tuple[int, ...]
    stacks: tuple[Stack, ...]
    order: Tensor
    elements: Tensor
    rows: Tensor

    @classmethod
    def of(cls, sizes: Sequence[int], device: torch.device) -> Stacks:
        """Plan stacks of matrices of these sizes; what is planned is kept for further calls."""
        return _planned(tuple(sizes), device)

    @property
    def uniform(self) -> bool:
        """Whether all matrices have one size, so that nothing needs to be moved."""
        return len(set(self.sizes)) == 1

    def stack(self, flat: Tensor) -> list[Tensor]:
        """Make stacks (G, M, M) of matrices (sum M_b^2,), padded with zeros."""
        if self.uniform:
            return [flat.view(self.stacks[0].shape)]
        padded = torch.cat([flat, flat.new_zeros(1)])
        return [padded.index_select(0, stack.elements).view(stack.shape) for stack in self.stacks]

    def flatten(self, stacks: Sequence[Tensor]) -> Tensor:
        """Put matrices of stacks (G, M, M) one behind the other, (sum M_b^2,)."""
        return self._joined(stacks, self.elements)

    def flatten_rows(self, stacks: Sequence[Tensor]) -> Tensor:
        """Put vectors of stacks (G, M) one behind the other, (sum M_b,)."""
        return self._joined(stacks, self.rows)

    def sums(self, flat: Tensor) -> Tensor:
        """Sum up all elements of each matrix, (sum M_b^2,) -> (B,)."""
        return self._joined([stack.sum((1, 2)) for stack in self.stack(flat)], self.order)

    def _joined(self, parts: Sequence[Tensor], places: Tensor) -> Tensor:
        joined = torch.cat([part.reshape(-1) for part in parts]) if len(parts) > 1 else parts[0].reshape(-1)
        return joined if self.uniform else joined.index_select(0, places)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept must serve gradients later
def uploaded(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Keep integers (n,) on a device, so that a step that needs the same ones copies nothing."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _planned(sizes: tuple[int, ...], device: torch.device) -> Stacks:
    starts = np.cumsum([0, *(m * m for m in sizes)])
    grouped = list(_grouped(sizes, _SHARE if device.type == "cpu" else _SHARE_ON_GPU))
    elements, rows = [np.empty(0, dtype=np.int64)] * len(sizes), [np.empty(0, dtype=np.int64)] * len(sizes)
    stacks, start, row = [], 0, 0
    for members in grouped:
        largest = max(sizes[member] for member in members)
        places = np.full((len(members), largest, largest), starts[-1])
        for place, member in enumerate(members):
            m = sizes[member]
            places[place, :m, :m] = (starts[member] + np.arange(m * m)).reshape(m, m)
            within = np.arange(m)
            elements[member] = (start + within[:, None] * largest + within).ravel()
            rows[member] = row + within
            start, row = start + largest * largest, row + largest
        stacks.append(Stack(members, tuple(sizes[i] for i in members), _upload(places.ravel(), device)))
    order = np.argsort(np.concatenate(grouped))
    joined = (_upload(array, device) for array in (order, np.concatenate(elements), np.concatenate(rows)))
    return Stacks(sizes, tuple(stacks), *joined)


def _grouped(sizes: tuple[int, ...], share: float) -> Iterator[tuple[int, ...]]:
    """Group matrices by size, from the largest down."""
    order = sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))
    group: list[int] = []
    for index in order:
        if group and sizes[index] < share * sizes[group[0]]:
            yield tuple(group)
            group = []
        group.append(index)
    yield tuple(group)


def _upload(array: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
