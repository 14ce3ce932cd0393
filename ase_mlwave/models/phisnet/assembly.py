"""Put blocks of atoms and pairs into the matrices of a batch of molecules of any sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.systems.batch import SystemBatch

__all__ = ["AOPlan", "Assembly", "MatrixBatch"]


@dataclass(frozen=True)
class MatrixBatch:
    """B square matrices of different sizes, stored one behind the other.

    Parameters
    ----------
    flat : Tensor, (sum M_b^2,)
        Elements, row by row.
    sizes : tuple of int, (B,)
        M_b of each molecule.
    """

    flat: Tensor
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, matrices: Sequence[Tensor]) -> MatrixBatch:
        """Join matrices (M_b, M_b)."""
        return cls(torch.cat([matrix.reshape(-1) for matrix in matrices]), tuple(map(len, matrices)))

    def matrices(self) -> tuple[Tensor, ...]:
        """View each matrix, (M_b, M_b)."""
        parts = self.flat.split([m * m for m in self.sizes])
        return tuple(p.view(m, m) for p, m in zip(parts, self.sizes, strict=True))

    def stack(self) -> Tensor:
        """View all as one tensor (B, M, M); all sizes must agree."""
        if len(set(self.sizes)) != 1:
            raise ValueError(f"matrices of sizes {sorted(set(self.sizes))} cannot be stacked")
        return self.flat.view(len(self.sizes), self.sizes[0], self.sizes[0])


class AOPlan:
    """Where the basis functions of every atom of a batch stand.

    Parameters
    ----------
    batch : SystemBatch
        The molecules.
    functions : mapping of atomic number to int
        Basis functions per element.
    device : torch.device, optional
        Where the plan is needed; by default where the batch is.
    """

    def __init__(self, batch: SystemBatch, functions: Mapping[int, int], device: torch.device | None = None) -> None:
        counts = torch.zeros(max(functions) + 1, dtype=torch.int64)
        for number, count in functions.items():
            counts[number] = count
        per_atom = counts[batch.numbers.cpu()]
        system = batch.system.cpu()
        sizes = torch.zeros(len(batch.n_atoms), dtype=torch.int64).index_add(0, system, per_atom)
        ends = per_atom.cumsum(0)
        system_start = sizes.cumsum(0) - sizes
        matrix_start = sizes.square().cumsum(0) - sizes.square()
        device = batch.positions.device if device is None else device
        self.sizes = tuple(sizes.tolist())
        self.offset = (ends - per_atom - system_start[system]).to(device)  # (N,) first function of an atom
        self.width = sizes[system].to(device)  # (N,) M of its molecule
        self.base = matrix_start[system].to(device)  # (N,) where its matrix begins
        self.n_elements = int(sizes.square().sum())

    def indices(self, first: Tensor, second: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Locate blocks of pairs (n,) of one shape: flat indices (n, M1, M2), and those of the transposed elements."""
        rows = self.offset[first][:, None] + torch.arange(shape[0], device=first.device)
        columns = self.offset[second][:, None] + torch.arange(shape[1], device=first.device)
        base, width = self.base[first][:, None, None], self.width[first][:, None, None]
        straight = base + rows[:, :, None] * width + columns[:, None, :]
        return straight, base + columns[:, None, :] * width + rows[:, :, None]

    def extract(self, flat: Tensor, first: Tensor, second: Tensor, shape: tuple[int, int]) -> Tensor:
        """Read the blocks (n, M1, M2) of given pairs from matrices stored flat: the way back of `Assembly`."""
        return flat[self.indices(first, second, shape)[0]]


@dataclass(frozen=True)
class Assembly:
    """Where the elements of blocks stand in the matrices of a batch.

    Parameters
    ----------
    sizes : tuple of int, (B,)
        M_b of each molecule.
    n_elements : int
        Elements of all matrices.
    straight, transposed : Tensor
        Places of the elements of all blocks, one block behind the other, and of their transposes.
    """

    sizes: tuple[int, ...]
    n_elements: int
    straight: Tensor
    transposed: Tensor

    @classmethod
    def of(cls, plan: AOPlan, blocks: list[tuple[Tensor, Tensor, tuple[int, int]]]) -> Assembly:
        """Locate blocks of first and second atoms (n,) of one shape (M1, M2) each; there may be none."""
        if not blocks:
            nowhere = plan.offset.new_empty(0)
            return cls(plan.sizes, plan.n_elements, nowhere, nowhere)
        places = [plan.indices(first, second, shape) for first, second, shape in blocks]
        straight, transposed = (torch.cat([i.reshape(-1) for i in which]) for which in zip(*places, strict=True))
        return cls(plan.sizes, plan.n_elements, straight, transposed)

    def __call__(self, elements: Tensor) -> MatrixBatch:
        """Add up the elements of all blocks, one block behind the other, and their transposes: symmetric matrices."""
        half = 0.5 * elements
        flat = elements.new_zeros(self.n_elements).index_add(0, self.straight, half)
        return MatrixBatch(flat.index_add(0, self.transposed, half), self.sizes)
