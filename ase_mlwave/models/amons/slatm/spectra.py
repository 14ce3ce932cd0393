"""The spectra of a batch where its atoms are, and their derivatives in closed form: all on the device of the batch.

Everything depends on the squared distances of pairs. The spectra and their derivatives are sums over Gaussians, which
are computed for a few thousand triangles at a time, so that memory is that of the result and of a few numbers for each
triangle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.grids import (
    Grid,
    add_windows,
    angle_grid,
    distance_grid,
    switch,
    window_gradients,
    window_tangents,
    windows,
)
from ase_mlwave.models.amons.slatm.neighbours import SlatmBatch
from ase_mlwave.models.amons.slatm.terms import angle, pair_terms, side_weights, triangle_terms
from ase_mlwave.models.amons.slatm.types import TypeTable
from ase_mlwave.units import BOHR

__all__ = ["Spectra", "SpectrumShapes"]

#: Gaussians that are computed at once: few enough for a CPU's cache, many enough to fill a GPU.
_GAUSSIANS_ON_CPU, _GAUSSIANS_ON_GPU = 1 << 12, 1 << 20
#: Devices that select pairs and triangles, and how many triangles others compute without: waiting would cost them more.
_SELECTS, _NOT_SELECTED = frozenset({"cpu"}), 1 << 18
#: Directions of differentiation that take about the memory of the values.
_DIRECTIONS = 4
#: How far ``smooth`` keeps angles from 0 and 180 degrees, in widths of their Gaussians.
_SOFTENING = 1.0


class SpectrumShapes:
    """Grids of distances and angles, and the functions of the grid that weight Gaussians.

    Parameters
    ----------
    config : SlatmConfig
        Elements, grids and cutoffs.
    """

    def __init__(self, config: SlatmConfig) -> None:
        self.config = config
        self.grids = distance_grid(config), angle_grid(config)
        self.table = TypeTable(config.numbers, self.grids[0].n, self.grids[1].n)
        self._profiles: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def profiles(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return x^-power (1, n) on the grid of distances, and 1 and cos x (2, n) on that of angles; made once."""
        if device not in self._profiles:
            x, angles = (grid.points(device) for grid in self.grids)
            cosines = torch.cos(angles)
            self._profiles[device] = (x**-self.config.power)[None], torch.stack([torch.ones_like(cosines), cosines])
        return self._profiles[device]


@dataclass(frozen=True)
class _Terms:
    """Gaussians of pairs, or of triangles, on one kind of grid.

    Parameters
    ----------
    grid : Grid
    profiles : Tensor, (M, n)
        Functions of the grid.
    n_rows : int
        Number R of spectra.
    rows : Tensor, (T,)
        Which of them each adds to.
    values : Tensor, (1 + M, T)
        Centres and coefficients.
    sides : Tensor, (S, T)
        Pairs whose squared distances these depend on.
    slopes : Tensor, (1 + M, S, T)
        Derivatives by these squares; empty where they are not wanted.
    """

    grid: Grid
    profiles: Tensor
    n_rows: int
    rows: Tensor
    values: Tensor
    sides: Tensor
    slopes: Tensor

    def parts(self, n_directions: int = 0) -> Iterator[_Terms]:
        """Divide into parts whose Gaussians are held at a time; where autograd records all, that is one."""
        limit = _GAUSSIANS_ON_CPU if self.rows.device.type == "cpu" else _GAUSSIANS_ON_GPU
        size = max(1, limit * _DIRECTIONS // (_DIRECTIONS + n_directions))
        if torch.is_grad_enabled() or len(self.rows) <= size:
            yield self
            return
        for start in range(0, len(self.rows), size):
            some = slice(start, start + size)
            values, sides, slopes = (array[..., some] for array in (self.values, self.sides, self.slopes))
            yield replace(self, rows=self.rows[some], values=values, sides=sides, slopes=slopes)


class Spectra:
    """Evaluate the compact rows of a batch, and their derivatives.

    Parameters
    ----------
    shapes : SpectrumShapes
        Grids and settings.
    batch : SlatmBatch
        On any device.
    slopes : bool
        Prepare derivatives, too: outside of autograd alone.
    """

    def __init__(self, shapes: SpectrumShapes, batch: SlatmBatch, *, slopes: bool = False) -> None:
        if batch.positions.dtype != torch.float64:
            raise ValueError(f"positions must be float64, got {batch.positions.dtype}: convert them with .double()")
        self.shapes, self.batch = shapes, batch
        self.vectors = batch.vectors() * BOHR  # the unit of the grids
        self._terms = self._evaluated(slopes)

    def rows(self) -> Tensor:
        """Return the compact rows, (N, D)."""
        batch, sums = self.batch, [self.batch.numbers[:, None].double()]
        for terms in self._terms:
            spectra = self.vectors.new_zeros(terms.n_rows, terms.grid.n)
            for part in terms.parts():
                first, values = windows(part.values[0], part.values[1:], part.profiles, part.grid)
                spectra = add_windows(spectra, part.rows, first, values, part.grid)
            sums.append(spectra.view(len(batch.numbers), -1))
        return torch.cat(sums, dim=1)

    def pullback(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Turn derivatives by the rows (N, D) into those by positions (N, 3) and cells (B, 3, 3), 1/Bohr."""
        by_squares = self.vectors.new_zeros(len(self.vectors))
        for terms, own in zip(self._terms, self._by_kind(gradient), strict=True):
            for part in terms.parts():
                centres, coefficients = part.values[0], part.values[1:]
                found = window_gradients(own, part.rows, centres, coefficients, part.profiles, part.grid)
                by_terms = torch.cat([found[0][None], found[1]])
                by_sides = (by_terms[:, None] * part.slopes).sum(0)
                by_squares.index_add_(0, part.sides.flatten(), by_sides.flatten())
        return self.batch.pullback((2 * BOHR) * by_squares[:, None] * self.vectors)

    def pushforward(self, directions: Tensor) -> Tensor:
        """Return derivatives (K, N, D) of the rows along displacements (K, N, 3), 1/Bohr."""
        n_atoms, n_directions = len(self.batch.numbers), len(directions)
        moved = (directions[:, self.batch.second] - directions[:, self.batch.first]) * self.vectors
        by_square = (2 * BOHR) * moved.sum(-1).T  # (E, K)
        sums = [self.vectors.new_zeros(n_atoms, 1, n_directions)]
        for terms in self._terms:
            spectra = self.vectors.new_zeros(terms.n_rows, terms.grid.n, n_directions)
            for part in terms.parts(n_directions):
                along = torch.einsum("ost,stk->otk", part.slopes, by_square[part.sides])
                first, tangents = window_tangents(part.values[0], part.values[1:], along, part.profiles, part.grid)
                spectra = add_windows(spectra, part.rows, first, tangents, part.grid)
            sums.append(spectra.view(n_atoms, -1, n_directions))
        return torch.cat(sums, dim=1).permute(2, 0, 1)

    def _evaluated(self, slopes: bool) -> tuple[_Terms, _Terms]:
        """Evaluate centres and coefficients of the Gaussians of pairs and of triangles."""
        config, batch = self.shapes.config, self.batch
        squares = self.vectors.square().sum(-1)
        r = squares.sqrt()
        fade = self._fade(r)
        pairs, triangles = self._selected(r)
        (distances, angles), table, n_atoms = self.shapes.grids, self.shapes.table, len(batch.numbers)
        decay, waves = self.shapes.profiles(r.device)
        values, by_square = pair_terms(r, fade, distances.scale / 2 * batch.pair_charges)
        rows, own = batch.pair_rows[pairs], by_square[:, None, pairs]
        of_pairs = _Terms(distances, decay, n_atoms * table.n_elements, rows, values[:, pairs], pairs[None], own)
        weights, by_squares = side_weights(r, fade, config.triangle_power)
        sides, rows = batch.sides[:, triangles], batch.triangle_rows[triangles]
        gathered = torch.stack([squares, weights, by_squares] if slopes else [squares, weights])[:, sides]
        hard = None if config.smooth else angle(self.vectors[sides[0]], self.vectors[sides[1]])
        strengths = angles.scale / 3 * batch.triangle_charges[triangles]
        soften, by_sides = _SOFTENING * angles.sigma, gathered[2] if slopes else None
        found = triangle_terms(gathered[0], gathered[1], by_sides, strengths, soften, hard)
        return of_pairs, _Terms(angles, waves, n_atoms * table.n_pairs, rows, found[0], sides, found[1])

    def _selected(self, r: Tensor) -> tuple[Tensor, Any]:
        """Return which pairs and triangles are within the cutoff; all where a device would wait for the answer."""
        sides = self.batch.sides
        if self.batch.is_exact or (r.device.type not in _SELECTS and sides.shape[1] <= _NOT_SELECTED):
            return torch.arange(len(r), device=r.device), slice(None)
        near = r <= self.shapes.config.cutoff_angstrom
        return near.nonzero()[:, 0], near[sides].all(dim=0).nonzero()[:, 0]

    def _fade(self, r: Tensor) -> tuple[Tensor, Tensor]:
        config = self.shapes.config
        if config.smooth:
            return switch(r, config.cutoff_angstrom, config.switch_angstrom)
        return (r <= config.cutoff_angstrom).to(r.dtype), torch.zeros_like(r)

    def _by_kind(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Divide derivatives by rows (N, D) into those by spectra of distances and of angles, (R, n) each."""
        stop = self.shapes.table.pair_stop
        own = gradient[:, 1:stop], gradient[:, stop:]
        return own[0].reshape(-1, self.shapes.grids[0].n), own[1].reshape(-1, self.shapes.grids[1].n)
