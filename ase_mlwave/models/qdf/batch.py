"""Molecules joined to one batch of atom-centred blocks, with the neighbours that reach their points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

__all__ = ["Block", "FieldBatch", "collate"]

Geometry = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Atomic numbers (N,) and positions (N, 3) in Bohr."""

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


@dataclass(frozen=True)
class FieldBatch:
    """B molecules as flat tensors.

    Parameters
    ----------
    numbers : Tensor, (N,)
        Atomic numbers, int64.
    positions : Tensor, (N, 3)
        Bohr, float64.
    system : Tensor, (N,)
        Index of the molecule of every atom.
    n_atoms : tuple of int, (B,)
        Atoms of each molecule.
    blocks : tuple of Block
        Every atom is a centre in one of them.
    """

    numbers: Tensor
    positions: Tensor
    system: Tensor
    n_atoms: tuple[int, ...]
    blocks: tuple[Block, ...]

    def to(self, device: torch.device | str) -> FieldBatch:
        """Copy all tensors to a device."""
        return FieldBatch(
            numbers=self.numbers.to(device),
            positions=self.positions.to(device),
            system=self.system.to(device),
            n_atoms=self.n_atoms,
            blocks=tuple(block.to(device) for block in self.blocks),
        )

    def at(self, positions: Tensor) -> FieldBatch:
        """Replace the positions (N, 3), Bohr, and keep the neighbours: for derivatives and rotations."""
        return replace(self, positions=positions)


def collate(geometries: Sequence[Geometry], reach: float, pairs_per_block: int = 400) -> FieldBatch:
    """Join molecules to a batch.

    Parameters
    ----------
    geometries : sequence of (numbers (N,), positions (N, 3))
        Positions in Bohr.
    reach : float
        Largest distance of neighbours: twice the model's cutoff, Bohr.
    pairs_per_block : int
        Largest number of centres times neighbours in one block (a block has one centre at least).

    Returns
    -------
    FieldBatch
        On the CPU.

    Notes
    -----
    Neighbours come from a tree: time and memory are linear in the number of atoms.
    """
    lists: list[list[int]] = []
    for _, positions in geometries:
        start = len(lists)
        lists += [[start + i] for i in range(len(positions))]
        for i, j in cKDTree(positions).query_pairs(reach, output_type="ndarray") if len(positions) > 1 else ():
            lists[start + i].append(start + j)
            lists[start + j].append(start + i)
    n_atoms = tuple(len(numbers) for numbers, _ in geometries)
    return FieldBatch(
        numbers=torch.from_numpy(np.concatenate([np.asarray(z, dtype=np.int64) for z, _ in geometries])),
        positions=torch.from_numpy(np.concatenate([np.array(r, dtype=np.float64) for _, r in geometries])),
        system=torch.repeat_interleave(torch.arange(len(n_atoms)), torch.tensor(n_atoms)),
        n_atoms=n_atoms,
        blocks=tuple(_blocks(lists, pairs_per_block)),
    )


def _blocks(lists: list[list[int]], pairs_per_block: int) -> list[Block]:
    """Group centres with about equally many neighbours."""
    blocks: list[Block] = []
    current: list[int] = []
    for atom in sorted(range(len(lists)), key=lambda i: (len(lists[i]), i)):
        width = len(lists[atom])
        if current and (width > _SPREAD * len(lists[current[0]]) + 1 or width * (len(current) + 1) > pairs_per_block):
            blocks.append(_block(current, lists))
            current = []
        current.append(atom)
    return [*blocks, _block(current, lists)]


def _block(centres: list[int], lists: list[list[int]]) -> Block:
    width = max(len(lists[i]) for i in centres)
    table = np.array([lists[i] + [i] * (width - len(lists[i])) for i in centres], dtype=np.int64)
    present = np.array([[1.0] * len(lists[i]) + [0.0] * (width - len(lists[i])) for i in centres])
    return Block(torch.tensor(centres), torch.from_numpy(table), torch.from_numpy(present))
