"""Grids, Gaussians on the few points that they reach, and the switching function."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.models.amons.slatm.config import SlatmConfig

__all__ = ["Grid", "angle_grid", "distance_grid", "switch", "window_tangents", "windows"]

#: Where a Gaussian is left out, in standard deviations: there it is below 3e-18 of its peak. The two-body spectrum is
#: multiplied with x^-6, which grows towards small x, and needs more.
_REACH_OF_ANGLES, _REACH_OF_DISTANCES = 9.0, 12.0
#: First distance, Angstrom, and both ends of the angles, degrees.
_FIRST_DISTANCE, _FIRST_ANGLE, _LAST_ANGLE = 0.1, -20.0, 200.0


@dataclass(frozen=True)
class Grid:
    """Evenly spaced points and the Gaussians on them.

    Parameters
    ----------
    start, stop : float
        First and last point, Angstrom or radians.
    n : int
        Number of points.
    sigma : float
        Standard deviation of the Gaussians.
    scale : float
        What multiplies every Gaussian: nominal step / (sqrt(2 pi) sigma).
    window : int
        Neighbouring points that a Gaussian is computed on.
    """

    start: float
    stop: float
    n: int
    sigma: float
    scale: float
    window: int

    @classmethod
    def make(cls, start: float, stop: float, step: float, sigma: float, reach: float) -> Grid:
        """Make the grid linspace(start, stop, int((stop - start) / step) + 1)."""
        n = int((stop - start) / step) + 1
        exact = (stop - start) / (n - 1)
        return cls(
            start=start,
            stop=stop,
            n=n,
            sigma=sigma,
            scale=step / (math.sqrt(2 * math.pi) * sigma),
            window=min(n, 2 * math.ceil(reach * sigma / exact)),
        )

    @property
    def step(self) -> float:
        """Exact spacing."""
        return (self.stop - self.start) / (self.n - 1)

    def points(self, like: Tensor) -> Tensor:
        """Give the points, (n,), in the dtype and on the device of a tensor."""
        return self.start + self.step * torch.arange(self.n, dtype=like.dtype, device=like.device)


def distance_grid(config: SlatmConfig) -> Grid:
    """Make the grid of distances, Angstrom."""
    step, sigma = config.distance_step, config.distance_width
    return Grid.make(_FIRST_DISTANCE, config.cutoff_angstrom, step, sigma, _REACH_OF_DISTANCES)


def angle_grid(config: SlatmConfig) -> Grid:
    """Make the grid of angles, radians."""
    first, last = math.radians(_FIRST_ANGLE), math.radians(_LAST_ANGLE)
    return Grid.make(first, last, config.angle_step, config.angle_width, _REACH_OF_ANGLES)


def windows(t: Tensor, coefficients: Tensor, profiles: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Evaluate Gaussians, weighted with functions of the grid, on the points around their centres.

    Parameters
    ----------
    t : Tensor, (T,)
        Centres, Angstrom or radians.
    coefficients : Tensor, (M, T)
        c_m of every Gaussian.
    profiles : Tensor, (M, grid.n)
        Functions b_m(x) on the grid.
    grid : Grid

    Returns
    -------
    index : Tensor, (T, grid.window)
        Grid points, int64: a run of neighbours that lies wholly inside the grid.
    values : Tensor, (T, grid.window)
        sum_m c_m b_m(x) exp(-(x - t)^2 / 2 sigma^2).

    Notes
    -----
    What is left out is below 3e-18 of a Gaussian's peak (``test_windows_equal_whole_gaussians``).
    """
    index, gaussians, _ = _gaussians(t, grid)
    values = coefficients[0][:, None] * profiles[0][index]
    for c, b in zip(coefficients[1:], profiles[1:], strict=True):
        values = values + c[:, None] * b[index]
    return index, values * gaussians


def window_tangents(
    t: Tensor, coefficients: Tensor, moved: tuple[Tensor, Tensor], profiles: Tensor, grid: Grid
) -> tuple[Tensor, Tensor]:
    """Differentiate `windows` along K directions, in closed form.

    Parameters
    ----------
    t, coefficients, profiles, grid
        As in `windows`.
    moved : Tensor, (K, T) and Tensor, (K, M, T)
        Derivatives of centres and coefficients.

    Returns
    -------
    index : Tensor, (T, grid.window)
        As in `windows`.
    tangents : Tensor, (T, grid.window, K)
        Derivatives of the values: a product of matrices, because only the derivatives of t and c_m depend on the
        direction.
    """
    index, gaussians, offsets = _gaussians(t, grid)
    shapes = profiles[:, index] * gaussians  # (M, T, window)
    by_centre = (coefficients[:, :, None] * shapes).sum(0) * offsets / grid.sigma**2
    basis = torch.cat([shapes, by_centre[None]]).permute(1, 2, 0)  # (T, window, M + 1)
    factors = torch.cat([moved[1], moved[0][:, None]], dim=1).permute(2, 1, 0)  # (T, M + 1, K)
    return index, basis @ factors


def _gaussians(t: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Give grid points (T, window) around centres, the Gaussians there, and x - t."""
    below = torch.floor((t.detach() - grid.start) / grid.step).long()
    first = (below - (grid.window // 2 - 1)).clamp(0, grid.n - grid.window)
    index = first[:, None] + torch.arange(grid.window, device=t.device)
    offsets = grid.points(t)[index] - t[:, None]
    return index, torch.exp(offsets.square() * (-0.5 / grid.sigma**2)), offsets


def switch(r: Tensor, cutoff: float, length: float) -> Tensor:
    """Fade from 1 to 0 over the last part of the cutoff.

    Parameters
    ----------
    r : Tensor, any shape
        Distances.
    cutoff, length : float
        1 up to ``cutoff - length``, 0 beyond ``cutoff``; in the unit of ``r``.

    Returns
    -------
    Tensor, as ``r``

    Notes
    -----
    1 - x^4 (35 - 84 x + 70 x^2 - 20 x^3) with x = (r - cutoff + length) / length: three continuous derivatives
    (``test_switch_has_three_continuous_derivatives``).
    """
    x = ((r - (cutoff - length)) / length).clamp(0, 1)
    return 1 - x**4 * (35 + x * (-84 + x * (70 - 20 * x)))
