"""The pairs of a batch as blocks of centres, each with the neighbours that reach its points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.systems.batch import SystemBatch

__all__ = ["Block", "FieldBatch", "with_blocks"]

Index = NDArray[np.int64]

#: Neighbour lists of one block differ in length by at most this factor, so that little is padded.
_SPREAD = 1.35


@dataclass(frozen=True)
class Block:
    """Centres whose grids are computed together.

    Parameters
    ----------
    centres : Tensor, (C,)
        Indices of atoms.
    neighbours : Tensor, (C, K)
        Indices of the atoms that may reach their points: the centre itself first, then others, then padding.
    present : Tensor, (C, K)
        1 for neighbours, 0 for padding; float64.
    """

    centres: Tensor
    neighbours: Tensor
    present: Tensor

    def to(self, device: torch.device | str) -> Block:
        """Copy to a device."""
        return Block(self.centres.to(device), self.neighbours.to(device), self.present.to(device))


@dataclass(frozen=True, eq=False)
class FieldBatch(SystemBatch):
    """Molecules with their pairs in blocks.

    Parameters
    ----------
    blocks : tuple of Block
        Every atom is a centre in one of them.
    """

    blocks: tuple[Block, ...]


def with_blocks(batch: SystemBatch, pairs_per_block: int = 400) -> FieldBatch:
    """Group the atoms of a batch with about equally many neighbours.

    Parameters
    ----------
    batch : SystemBatch
        Molecules on the CPU; its pairs are up to twice the model's cutoff.
    pairs_per_block : int
        Largest number of centres times neighbours in one block (a block has one centre at least).

    Returns
    -------
    FieldBatch
        On the CPU.
    """
    second = batch.second.numpy()
    counts = np.bincount(batch.first.numpy(), minlength=len(batch.numbers))
    starts = np.cumsum(counts) - counts
    order = np.argsort(counts, kind="stable")
    groups = np.split(order, _edges(counts[order] + 1, pairs_per_block))
    blocks = tuple(_block(centres, counts[centres], starts[centres], second) for centres in groups)
    return FieldBatch(**vars(batch), blocks=blocks)


def _edges(widths: Index, pairs_per_block: int) -> list[int]:
    """Find where new blocks begin in ascending lengths of lists, the centres themselves included."""
    edges, begin = [], 0
    for place, width in enumerate(widths.tolist()):
        full = width > _SPREAD * widths[begin] + 1 or width * (place - begin + 1) > pairs_per_block
        if place > begin and full:
            edges.append(place)
            begin = place
    return edges


def _block(centres: Index, counts: Index, starts: Index, second: Index) -> Block:
    """Make a table of neighbours, the centre before them and as the padding behind them."""
    place = np.arange(-1, counts.max())
    present = place < counts[:, None]
    present[:, 0] = True
    others = present.copy()
    others[:, 0] = False
    table = np.repeat(centres[:, None], len(place), axis=1)
    table[others] = second[(starts[:, None] + place)[others]]
    return Block(*map(torch.from_numpy, (centres, table, present.astype(np.float64))))
