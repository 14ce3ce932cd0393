"""Rows of a few atoms at a time, and their derivatives: the memory of a large batch is that of its largest block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.grids import angle_grid, distance_grid, switch, window_tangents, windows
from ase_mlwave.models.amons.slatm.neighbours import SlatmBatch
from ase_mlwave.models.amons.slatm.terms import angle_profiles, angle_terms, pair_profiles, pair_terms
from ase_mlwave.models.amons.slatm.types import TypeTable

__all__ = ["Block", "Rows"]

#: Triangles that are computed at once: few enough for a CPU's cache, many enough to fill a GPU.
_TRIANGLES_ON_CPU, _TRIANGLES_ON_GPU = 1 << 13, 1 << 20
#: Directions of differentiation that take about the memory of the values.
_DIRECTIONS = 4
#: How far ``smooth`` keeps angles from 0 and 180 degrees, in widths of their Gaussians.
_SOFTENING = 1.0


@dataclass(frozen=True)
class Block:
    """Consecutive atoms with their pairs and triangles.

    Parameters
    ----------
    atoms, pairs : slice
        Which atoms and pairs of the batch.
    elements : Tensor, (N,)
        Index of each atom's element.
    centres : Tensor, (E,)
        Centres of the pairs, counted from the first atom of the block.
    ends : Tensor, (2, E)
        Indices of the elements of centre and neighbour.
    first, second : Tensor, (T,)
        Pairs of a triangle, counted from the first pair of the block.
    """

    atoms: slice
    pairs: slice
    elements: Tensor
    centres: Tensor
    ends: Tensor
    first: Tensor
    second: Tensor


class Rows:
    """Compute compact rows of blocks from their pair vectors.

    Parameters
    ----------
    config : SlatmConfig
        Elements, grids and cutoffs.
    """

    def __init__(self, config: SlatmConfig) -> None:
        self.config = config
        self.distances = distance_grid(config)
        self.angles = angle_grid(config)
        self.table = TypeTable(config.numbers, self.distances.n, self.angles.n)

    def blocks(self, batch: SlatmBatch, n_directions: int = 0) -> Iterator[Block]:
        """Divide a batch into runs of atoms with about equally many triangles.

        Parameters
        ----------
        batch : SlatmBatch
            On any device.
        n_directions : int
            In how many directions rows are differentiated at once; blocks are the smaller.

        Yields
        ------
        Block
            On the device of the batch.
        """
        elements = torch.from_numpy(self.table.element_index).to(batch.numbers.device)[batch.numbers]
        limit = _TRIANGLES_ON_GPU if batch.numbers.is_cuda else _TRIANGLES_ON_CPU
        limit = max(1, limit * _DIRECTIONS // (_DIRECTIONS + n_directions))
        for atoms, pairs, triangles in batch.portions(limit):
            centres = batch.first[pairs]
            first, second = batch.sides[:, triangles] - pairs.start
            yield Block(
                atoms=atoms,
                pairs=pairs,
                elements=elements[atoms],
                centres=centres - atoms.start,
                ends=torch.stack([elements[centres], elements[batch.second[pairs]]]),
                first=first,
                second=second,
            )

    def values(self, vectors: Tensor, block: Block) -> Tensor:
        """Compute the rows of a block.

        Parameters
        ----------
        vectors : Tensor, (E, 3)
            From centres to neighbours, Angstrom.
        block : Block

        Returns
        -------
        Tensor, (N, D)
            Differentiable in the vectors.
        """
        r, of_pairs, angles, of_triangles = self._terms(vectors, block)
        rows = vectors.new_zeros(len(block.elements), self.table.width)
        rows[:, 0] = self._charges(vectors)[block.elements]
        flat = rows.view(-1)
        decay = pair_profiles(self.distances, self.config.power, vectors)
        index, values = windows(r, of_pairs, decay, self.distances)
        flat = flat.index_add(0, self._pair_places(block, index), values.flatten())
        index, values = windows(angles, of_triangles, angle_profiles(self.angles, vectors), self.angles)
        flat = flat.index_add(0, self._triangle_places(block, index), values.flatten())
        return flat.view(-1, self.table.width)

    def tangents(self, vectors: Tensor, moved: Tensor, block: Block) -> Tensor:
        """Differentiate the rows of a block along directions.

        Parameters
        ----------
        vectors : Tensor, (E, 3)
            From centres to neighbours, Angstrom.
        moved : Tensor, (K, E, 3)
            Derivatives of the vectors.
        block : Block

        Returns
        -------
        Tensor, (K, N, D)

        Notes
        -----
        Every distance, angle and coefficient depends on one or two vectors. Its derivatives by these are computed once,
        in reverse mode, and serve all directions; the Gaussians are differentiated in closed form.
        """
        own, other = self._charges(vectors)[block.ends]
        with torch.enable_grad():
            v = vectors.detach().requires_grad_()
            r, of_pairs = self._pair_terms(v, own * other)
            slopes = _slopes((r, of_pairs[0]), (v,))  # (2, E, 3)
            start = vectors.detach()[block.first].requires_grad_()
            end = vectors.detach()[block.second].requires_grad_()
            angles, of_triangles = self._triangle_terms(start, end, own[block.first], other, block)
            first, second = _slopes((angles, *of_triangles), (start, end)).split(3, dim=-1)  # (3, T, 3) each
        along = torch.einsum("sex,kex->kse", slopes, moved)
        flat = vectors.new_zeros(len(block.elements) * self.table.width, len(moved))
        decay = pair_profiles(self.distances, self.config.power, vectors)
        moved_terms = (along[:, 0], along[:, 1:])
        index, values = window_tangents(r.detach(), of_pairs.detach(), moved_terms, decay, self.distances)
        flat.index_add_(0, self._pair_places(block, index), values.flatten(0, 1))
        along = torch.einsum("stx,ktx->kst", first, moved[:, block.first])
        along += torch.einsum("stx,ktx->kst", second, moved[:, block.second])
        profiles = angle_profiles(self.angles, vectors)
        moved_terms = (along[:, 0], along[:, 1:])
        index, values = window_tangents(angles.detach(), of_triangles.detach(), moved_terms, profiles, self.angles)
        flat.index_add_(0, self._triangle_places(block, index), values.flatten(0, 1))
        return flat.T.reshape(len(moved), -1, self.table.width)

    def _terms(self, vectors: Tensor, block: Block) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give distances and coefficients of pairs, angles and coefficients of triangles."""
        own, other = self._charges(vectors)[block.ends]
        u, v = vectors[block.first], vectors[block.second]
        return *self._pair_terms(vectors, own * other), *self._triangle_terms(u, v, own[block.first], other, block)

    def _pair_terms(self, vectors: Tensor, charges: Tensor) -> tuple[Tensor, Tensor]:
        """Give distances (E,) and coefficients (1, E)."""
        r = vectors.square().sum(-1).sqrt()
        return r, pair_terms(charges, self._fade(r), self.distances)

    def _triangle_terms(self, u: Tensor, v: Tensor, own: Tensor, other: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        """Give angles (T,) and coefficients (2, T) of triangles with the sides u and v (T, 3)."""
        sides = u.square().sum(-1), v.square().sum(-1), (u - v).square().sum(-1)
        weights = own * other[block.first] * other[block.second]
        for side in sides:
            weights = weights * self._fade(side.sqrt())
        soften = _SOFTENING * self.angles.sigma if self.config.smooth else 0.0
        return angle_terms(u, v, sides, weights, self.angles, soften, self.config.triangle_power)

    def _fade(self, r: Tensor) -> Tensor:
        cutoff = self.config.cutoff_angstrom
        if self.config.smooth:
            return switch(r, cutoff, self.config.switch_angstrom)
        return (r <= cutoff).to(r.dtype)

    def _charges(self, like: Tensor) -> Tensor:
        return torch.tensor(self.table.numbers, dtype=like.dtype, device=like.device)

    def _pair_places(self, block: Block, index: Tensor) -> Tensor:
        """Give the places of grid points of pairs in the flattened rows."""
        begin = block.centres * self.table.width + 1 + block.ends[1] * self.table.n_distance
        return (begin[:, None] + index).flatten()

    def _triangle_places(self, block: Block, index: Tensor) -> Tensor:
        """Give the places of grid points of triangles in the flattened rows."""
        other = block.ends[1]
        pairs = torch.from_numpy(self.table.pair_index).to(index.device)[other[block.first], other[block.second]]
        begin = block.centres[block.first] * self.table.width + self.table.pair_stop + pairs * self.table.n_angle
        return (begin[:, None] + index).flatten()


def _slopes(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Differentiate outputs (T,) by the rows of inputs (T, 3) that they depend on: (outputs, T, 3 inputs)."""
    by_output = []
    for output in outputs:
        ones = torch.ones_like(output)
        if output.requires_grad:
            slopes = torch.autograd.grad(output, inputs, ones, retain_graph=True, materialize_grads=True)
        else:  # hard cutoffs
            slopes = tuple(torch.zeros_like(one) for one in inputs)
        by_output.append(torch.cat(slopes, dim=-1))
    return torch.stack(by_output)
