"""A small smooth representation: sums of Gaussians of the distances to the atoms of every element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import jvp

from ase_mlwave.models.amons.regression.environments import Environments, gather
from ase_mlwave.systems.system import System

ELEMENTS = (1, 6, 7, 8)


class Molecules(list[tuple[Tensor, Tensor]]):
    """A batch: numbers and positions of molecules."""

    def to(self, device: torch.device | str) -> Molecules:
        return self


class Gaussians:
    """Features (N, 4 * 8): for each element of a neighbour, on a grid of distances; smooth, molecules only."""

    def __init__(self, points: int = 8, width: float = 0.8) -> None:
        self.grid = torch.linspace(1.0, 6.0, points, dtype=torch.float64)
        self.width = width

    def collate(self, systems: Sequence[System]) -> Molecules:
        return Molecules((torch.tensor(system.numbers), torch.tensor(system.positions)) for system in systems)

    def environments_of(self, batch: Molecules) -> Tensor:
        return torch.cat([self.environments(*one) for one in batch])

    def pushforward(self, batch: Molecules, directions: Tensor) -> tuple[Tensor, Tensor]:
        ((numbers, positions),) = batch
        pairs = [jvp(lambda r: self.environments(numbers, r), (positions,), (u,)) for u in directions]
        return pairs[0][0], torch.stack([slopes for _, slopes in pairs])

    def pullback(self, batch: Molecules, gradient: Tensor) -> tuple[Tensor, Tensor]:
        moved = Molecules((numbers, positions.clone().requires_grad_()) for numbers, positions in batch)
        with torch.enable_grad():
            by_positions = torch.autograd.grad(self.environments_of(moved), [r for _, r in moved], gradient)
        return torch.cat(by_positions), torch.zeros(len(batch), 3, 3, dtype=torch.float64)

    def environments(self, numbers: Tensor, positions: Tensor) -> Tensor:
        diagonal = torch.eye(len(numbers), dtype=positions.dtype)[..., None]
        r = (positions[:, None] - positions + diagonal).square().sum(dim=2).sqrt()  # (N, N); the diagonal is masked
        waves = (1 - diagonal) * torch.exp(-((self.grid - r[..., None]) ** 2) / (2 * self.width**2)) / r[..., None]
        kinds = torch.stack([numbers == z for z in ELEMENTS]).to(positions.dtype)  # (4, N)
        return torch.einsum("ijg,zj->izg", waves, kinds).flatten(1)


@dataclass(frozen=True, eq=False)
class Geometry(System):
    """A molecule and directions (R, N, 3) of all its coordinates."""

    directions: NDArray[np.float64] | None = None


def described(geometries: Sequence[Geometry]) -> Environments:
    return gather(Gaussians(), geometries, [one.directions for one in geometries])


def random_geometry(seed: int, symbols: str = "CHONH", n_directions: int = 0) -> Geometry:
    """Return atoms at random places no nearer than 1.5 Bohr, with random directions."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < len(symbols):
        place = rng.uniform(-3.0, 3.0, size=3)
        if all(np.linalg.norm(place - other) > 1.5 for other in places):
            places.append(place)
    directions = rng.normal(size=(n_directions, len(symbols), 3)) if n_directions else None
    return Geometry(np.array([{"H": 1, "C": 6, "N": 7, "O": 8}[s] for s in symbols]), np.array(places), directions)
