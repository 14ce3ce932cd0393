"""Systems joined to one batch of flat tensors, with their neighbours: what networks compute from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ase_mlwave.systems.neighbours import NeighbourList, Pairs, find_pairs
from ase_mlwave.systems.system import System

__all__ = ["SystemBatch", "collate", "join", "pairs_of"]


@dataclass(frozen=True, eq=False)
class SystemBatch:
    """B systems as flat tensors, with E directed pairs of atoms.

    Parameters
    ----------
    numbers : Tensor, (N,)
        Atomic numbers, int64.
    positions : Tensor, (N, 3)
        Bohr, float64.
    system : Tensor, (N,)
        Index of the system of every atom.
    n_atoms : tuple of int, (B,)
        Atoms of each system.
    cells : Tensor, (B, 3, 3)
        Bohr; rows are cell vectors; zero for molecules.
    first, second : Tensor, (E,)
        Atoms of a pair, by the first atom, then by the second.
    shifts : Tensor or None, (E, 3)
        Cell vectors to add to the second atom, float64; None if no system is periodic.

    Notes
    -----
    Pairs are discrete and carry no derivatives: they are found once from values of the positions, and `at` puts other
    positions (those of a differentiation, or of a small displacement) under the same pairs.
    """

    numbers: Tensor
    positions: Tensor
    system: Tensor
    n_atoms: tuple[int, ...]
    cells: Tensor
    first: Tensor
    second: Tensor
    shifts: Tensor | None

    def to(self, device: torch.device | str) -> Self:
        """Copy all tensors to a device."""
        return replace(self, **{name: _moved(value, device) for name, value in vars(self).items()})

    def at(self, positions: Tensor, cells: Tensor | None = None) -> Self:
        """Replace positions (N, 3) and perhaps cells (B, 3, 3), Bohr, and keep the pairs: for derivatives."""
        return replace(self, positions=positions, cells=self.cells if cells is None else cells)

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Divide what is given atom by atom, (N, ...), by systems."""
        parts: tuple[Tensor, ...] = values.split(list(self.n_atoms))
        return parts

    def vectors(self) -> Tensor:
        """Return the vectors (E, 3) from first to second atoms, Bohr, differentiable in positions and cells."""
        difference = self.positions.index_select(0, self.second) - self.positions.index_select(0, self.first)
        if self.shifts is not None:
            cells = self.cells.index_select(0, self.system.index_select(0, self.first))
            difference = difference + (self.shifts[:, :, None] * cells).sum(1)
        return difference

    def pullback(self, by_vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Turn a scalar's derivatives by `vectors` (E, 3) into those by positions (N, 3) and by cells (B, 3, 3)."""
        zeros = torch.zeros_like(self.positions)
        by_positions = zeros.index_add(0, self.second, by_vectors).index_add_(0, self.first, by_vectors, alpha=-1)
        by_cells = torch.zeros_like(self.cells)
        if self.shifts is not None:
            by_cells.index_add_(0, self.system[self.first], self.shifts[:, :, None] * by_vectors[:, None])
        return by_positions, by_cells


def collate(systems: Sequence[System], cutoff: float, neighbours: NeighbourList | None = None) -> SystemBatch:
    """Join systems to a batch and find their pairs.

    Parameters
    ----------
    systems : sequence of System, (B,)
        Molecules and cells in any mixture, one at least.
    cutoff : float
        Largest distance of a pair, Bohr.
    neighbours : NeighbourList, optional
        Remembers the pairs of a batch of one from one step of a simulation to the next.

    Returns
    -------
    SystemBatch
        On the CPU.

    Raises
    ------
    ValueError
        If there is no system.
    """
    return join(systems, pairs_of(systems, cutoff, neighbours))


def pairs_of(systems: Sequence[System], cutoff: float, neighbours: NeighbourList | None = None) -> list[Pairs]:
    """Find the pairs of each system, those of a single one with its neighbour list; parameters as for `collate`."""
    search = neighbours.find_pairs if neighbours is not None and len(systems) == 1 else find_pairs
    return [search(system, cutoff) for system in systems]


def join(systems: Sequence[System], pairs: Sequence[Pairs]) -> SystemBatch:
    """Join systems and what was found of their pairs to a batch, see `collate`."""
    if not systems:
        raise ValueError("there is no system: give at least one")
    n_atoms = tuple(map(len, systems))
    starts = np.cumsum(n_atoms) - n_atoms
    periodic = any(system.n_periods for system in systems)
    shifts = [np.zeros((len(one), 3)) if one.shifts is None else one.shifts for one in pairs] if periodic else []
    cells = [np.zeros((3, 3)) if system.cell is None else system.cell for system in systems]
    return SystemBatch(
        numbers=torch.from_numpy(np.concatenate([system.numbers for system in systems])),
        positions=torch.from_numpy(np.concatenate([system.positions for system in systems])),
        system=torch.from_numpy(np.repeat(np.arange(len(systems)), n_atoms)),
        n_atoms=n_atoms,
        cells=torch.from_numpy(np.stack(cells)),
        first=torch.from_numpy(np.concatenate([one.first + start for one, start in zip(pairs, starts, strict=True)])),
        second=torch.from_numpy(np.concatenate([one.second + start for one, start in zip(pairs, starts, strict=True)])),
        shifts=torch.from_numpy(np.concatenate(shifts).astype(np.float64)) if periodic else None,
    )


def _moved(value: Any, device: torch.device | str) -> Any:
    """Copy a tensor, or what else can be moved, to a device; of a tuple all members."""
    if isinstance(value, tuple):
        return tuple(_moved(one, device) for one in value)
    return value.to(device) if hasattr(value, "to") else value
