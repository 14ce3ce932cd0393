"""Molecules joined to one batch: flat atoms, ordered pairs, and where each system begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MoleculeBatch", "collate"]

Geometry = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Atomic numbers (N,) and positions (N, 3) in Bohr."""


@dataclass(frozen=True)
class MoleculeBatch:
    """B molecules as flat tensors.

    Parameters
    ----------
    numbers : Tensor, (N,)
        Atomic numbers of all atoms, int64.
    positions : Tensor, (N, 3)
        Bohr, float64.
    system : Tensor, (N,)
        Index of the molecule of every atom.
    first, second : Tensor, (E,)
        Atoms i and j of all ordered pairs i != j within the cutoff, in one molecule.
    n_atoms : tuple of int, (B,)
        Atoms of each molecule.
    """

    numbers: Tensor
    positions: Tensor
    system: Tensor
    first: Tensor
    second: Tensor
    n_atoms: tuple[int, ...]

    def to(self, device: torch.device | str) -> MoleculeBatch:
        """Copy all tensors to a device."""
        return MoleculeBatch(
            numbers=self.numbers.to(device),
            positions=self.positions.to(device),
            system=self.system.to(device),
            first=self.first.to(device),
            second=self.second.to(device),
            n_atoms=self.n_atoms,
        )

    def at(self, positions: Tensor) -> MoleculeBatch:
        """Replace the positions (N, 3), Bohr, and keep the pairs: for derivatives."""
        return replace(self, positions=positions)


def collate(geometries: Sequence[Geometry], cutoff: float) -> MoleculeBatch:
    """Join molecules to a batch.

    Parameters
    ----------
    geometries : sequence of (numbers (N,), positions (N, 3))
        Positions in Bohr.
    cutoff : float
        Largest distance of a pair, Bohr.

    Returns
    -------
    MoleculeBatch
        On the CPU.

    Notes
    -----
    Pairs are found molecule by molecule from all distances: molecules of a few hundred atoms at most are meant.
    """
    firsts, seconds, start = [], [], 0
    for _, positions in geometries:
        distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        i, j = np.nonzero((distances < cutoff) & ~np.eye(len(positions), dtype=bool))
        firsts.append(i + start)
        seconds.append(j + start)
        start += len(positions)
    n_atoms = tuple(len(numbers) for numbers, _ in geometries)
    return MoleculeBatch(
        numbers=torch.from_numpy(np.concatenate([np.asarray(z, dtype=np.int64) for z, _ in geometries])),
        positions=torch.from_numpy(np.concatenate([np.asarray(r, dtype=np.float64) for _, r in geometries])),
        system=torch.repeat_interleave(torch.arange(len(n_atoms)), torch.tensor(n_atoms)),
        first=torch.from_numpy(np.concatenate(firsts)),
        second=torch.from_numpy(np.concatenate(seconds)),
        n_atoms=n_atoms,
    )
