"""Grids, Gaussians on the few points that they reach, and the switching function."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.models.amons.slatm.config import SlatmConfig

__all__ = [
    "Grid",
    "add_windows",
    "angle_grid",
    "distance_grid",
    "switch",
    "window_gradients",
    "window_tangents",
    "windows",
]

#: Where a Gaussian is left out, in standard deviations: there it is below 3e-18 of its peak. The two-body spectrum is
#: multiplied with x^-6, which grows towards small x, and needs more.
_REACH_OF_ANGLES, _REACH_OF_DISTANCES = 9.0, 12.0
#: Windows that leave out less than this share of a grid are the whole grid: rows without an index are faster.
_SPARED = 0.25
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
        window = 2 * math.ceil(reach * sigma * (n - 1) / (stop - start))
        return cls(
            start=start,
            stop=stop,
            n=n,
            sigma=sigma,
            scale=step / (math.sqrt(2 * math.pi) * sigma),
            window=window if window < (1 - _SPARED) * n else n,
        )

    @property
    def step(self) -> float:
        """Exact spacing."""
        return (self.stop - self.start) / (self.n - 1)

    @property
    def is_whole(self) -> bool:
        """Whether windows are the whole grid."""
        return self.window == self.n

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """Give the points, (n,), float64."""
        return self.start + self.step * torch.arange(self.n, dtype=torch.float64, device=device)


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
    first : Tensor, (T,)
        First grid point of each window, int64: a run of neighbours that lies wholly inside the grid.
    values : Tensor, (T, grid.window)
        sum_m c_m b_m(x) exp(-(x - t)^2 / 2 sigma^2).

    Notes
    -----
    What is left out is below 3e-18 of a Gaussian's peak (``test_windows_equal_whole_gaussians``).
    """
    first, gaussians, _ = _gaussians(t, grid)
    if grid.is_whole:
        return first, coefficients.T @ profiles * gaussians
    shapes = profiles.unfold(1, grid.window, 1)[:, first]  # (M, T, window)
    return first, (coefficients[:, :, None] * shapes).sum(0) * gaussians


def window_gradients(
    gradient: Tensor, rows: Tensor, t: Tensor, coefficients: Tensor, profiles: Tensor, grid: Grid
) -> tuple[Tensor, Tensor]:
    """Differentiate a scalar by centres and coefficients of `windows`, in closed form.

    Parameters
    ----------
    gradient : Tensor, (R, grid.n)
        Derivatives of the scalar by sums of windows.
    rows : Tensor, (T,)
        To which of these sums each window was added.
    t, coefficients, profiles, grid
        As in `windows`.

    Returns
    -------
    by_centre : Tensor, (T,)
    by_coefficient : Tensor, (M, T)
    """
    first, gaussians, offsets = _gaussians(t, grid)
    if grid.is_whole:
        weights = gradient[rows] * gaussians
        of_values, of_slopes = profiles @ weights.T, profiles @ (weights * offsets).T  # (M, T)
    else:
        weights = gradient.flatten().take(_places(rows, first, grid)) * gaussians
        shaped = profiles.unfold(1, grid.window, 1)[:, first] * weights
        of_values, of_slopes = shaped.sum(2), (shaped * offsets).sum(2)
    return (coefficients * of_slopes).sum(0) / grid.sigma**2, of_values


def window_tangents(
    t: Tensor, coefficients: Tensor, moved: Tensor, profiles: Tensor, grid: Grid
) -> tuple[Tensor, Tensor]:
    """Differentiate `windows` along K directions, in closed form.

    Parameters
    ----------
    t, coefficients, profiles, grid
        As in `windows`.
    moved : Tensor, (1 + M, T, K)
        Derivatives of centres, then of coefficients.

    Returns
    -------
    first : Tensor, (T,)
        As in `windows`.
    tangents : Tensor, (T, grid.window, K)
        Derivatives of the values: a product of matrices, because only the derivatives of t and c_m depend on the
        direction.
    """
    first, gaussians, offsets = _gaussians(t, grid)
    windowed = profiles[:, None] if grid.is_whole else profiles.unfold(1, grid.window, 1)[:, first]
    shapes = windowed * gaussians  # (M, T, window)
    by_centre = (coefficients[:, :, None] * shapes).sum(0) * offsets / grid.sigma**2
    return first, torch.cat([by_centre[None], shapes]).permute(1, 2, 0) @ moved.transpose(0, 1)


def add_windows(sums: Tensor, rows: Tensor, first: Tensor, values: Tensor, grid: Grid) -> Tensor:
    """Add windows (T, grid.window, ...) to sums (R, grid.n, ...), in place where no derivatives are recorded."""
    if grid.is_whole:
        places = rows
    else:
        places, values = _places(rows, first, grid).flatten(), values.flatten(0, 1)
        sums = sums.flatten(0, 1)
    sums = sums.index_add(0, places, values) if torch.is_grad_enabled() else sums.index_add_(0, places, values)
    return sums if grid.is_whole else sums.unflatten(0, (-1, grid.n))


def _places(rows: Tensor, first: Tensor, grid: Grid) -> Tensor:
    """Give the places (T, window) of windows in flattened sums."""
    return (rows * grid.n + first)[:, None] + torch.arange(grid.window, device=rows.device)


def _gaussians(t: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Give first points of windows (T,), Gaussians (T, window), and x - t there."""
    steps = torch.arange(grid.window, dtype=t.dtype, device=t.device) * grid.step
    if grid.is_whole:
        first = torch.zeros_like(t, dtype=torch.int64)
        offsets = (grid.start - t)[:, None] + steps
    else:
        below = torch.floor((t.detach() - grid.start) / grid.step).long()
        first = (below - (grid.window // 2 - 1)).clamp(0, grid.n - grid.window)
        offsets = (grid.start + grid.step * first.to(t.dtype) - t)[:, None] + steps
    exponents = offsets.square() * (-0.5 * math.log2(math.e) / grid.sigma**2)
    return first, torch.exp2(exponents), offsets  # half the time of exp


def switch(r: Tensor, cutoff: float, length: float) -> tuple[Tensor, Tensor]:
    """Fade from 1 to 0 over the last part of the cutoff.

    Parameters
    ----------
    r : Tensor, any shape
        Distances.
    cutoff, length : float
        1 up to ``cutoff - length``, 0 beyond ``cutoff``; in the unit of ``r``.

    Returns
    -------
    values, slopes : Tensor, as ``r``
        And derivatives by r.

    Notes
    -----
    1 - x^4 (35 - 84 x + 70 x^2 - 20 x^3) with x = (r - cutoff + length) / length: three continuous derivatives
    (``test_switch_has_three_continuous_derivatives``), the first one -140 x^3 (1 - x)^3 / length.
    """
    x = ((r - (cutoff - length)) / length).clamp(0, 1)
    square = x * x
    values = 1 - square * square * (35 + x * (-84 + x * (70 - 20 * x)))
    bend = x - square
    return values, bend * bend * bend * (-140 / length)
