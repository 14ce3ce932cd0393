"""Atom-centred integration grids and the smooth division of space among the atoms.

An integral over all space becomes int F(r) dr = sum_A sum_p W_p w_A(R_A + o_p) F(R_A + o_p): offsets o_p and weights
W_p of radial shells times Lebedev directions, the same for all atoms, and w_A = p_A / sum_B p_B with

    p_A(r) = exp(beta_A - alpha r^2) (r^2 + b)^(-3/2) (1 - r^2/c^2)^3,   r = |r - R_A|, zero beyond the cutoff c.

The peak of p_A at its own nucleus keeps the other atoms' points from sampling the core there: with it the energy of a
molecule depends 20 times less on its orientation than with Gaussians alone.
Both the points and the weights move with the atoms, and both are differentiated. p_A has two continuous derivatives at
the cutoff and infinitely many inside; every point lies within the cutoff of its own atom, so that the quotient is
well-defined wherever it is needed. All is a function of squared distances: no root, nothing singular at a nucleus.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from pyscf.dft.gen_grid import MakeAngularGrid
from torch import Tensor

from ase_mlwave.models.qdf.config import GRID_LEVELS
from ase_mlwave.models.qdf.exponentials import LOG2_E

__all__ = [
    "AtomGrid",
    "FieldGrid",
    "Patches",
    "atom_grid",
    "cell_table",
    "envelope",
    "field_grid",
    "grid_patches",
    "radial_grid",
]

Array = NDArray[np.float64]

#: r = c t^_MAP: shells are denser towards the nucleus, where orbitals vary faster.
_MAP = 1.5
#: Shells inside the first of these fractions of the cutoff are inner, beyond the second outer.
_INNER, _OUTER = 0.12, 0.62
#: Largest number of points of a patch.
_PATCH = 128


@dataclass(frozen=True)
class AtomGrid:
    """Points around one atom.

    Parameters
    ----------
    offsets : (P, 3)
        From the nucleus, Bohr.
    weights : (P,)
        Bohr^3; sum_p W_p F(o_p) is the integral of F over the ball of radius ``cutoff``.
    """

    offsets: Array
    weights: Array


def radial_grid(n_shells: int, cutoff: float) -> tuple[Array, Array]:
    """Make radii and weights for int_0^cutoff f(r) r^2 dr.

    Parameters
    ----------
    n_shells : int
        Number of shells.
    cutoff : float
        Bohr.

    Returns
    -------
    radii : (n_shells,)
        Bohr, all below the cutoff.
    weights : (n_shells,)
        Bohr^3, r^2 included.

    Notes
    -----
    Gauss-Legendre in t = (r / cutoff)^(2/3).
    """
    nodes, gauss = np.polynomial.legendre.leggauss(n_shells)
    t = 0.5 * (nodes + 1)
    radii = cutoff * t**_MAP
    return radii, 0.5 * gauss * cutoff * _MAP * t ** (_MAP - 1) * radii**2


@lru_cache
def atom_grid(level: int, cutoff: float) -> AtomGrid:
    """Make the points of one atom.

    Parameters
    ----------
    level : int
        Index into ``GRID_LEVELS``.
    cutoff : float
        Radius of the ball, Bohr.

    Returns
    -------
    AtomGrid

    Raises
    ------
    ValueError
        If there is no such level.

    Notes
    -----
    Lebedev directions are PySCF's. The weights of all points sum to the ball's volume
    (``test_grid_integrates_polynomials``).
    """
    if not 0 <= level < len(GRID_LEVELS):
        raise ValueError(f"there is no grid level {level}; take 0 to {len(GRID_LEVELS) - 1}")
    n_shells, directions = GRID_LEVELS[level]
    offsets, weights = [], []
    for radius, weight in zip(*radial_grid(n_shells, cutoff), strict=True):
        zone = int(radius > _INNER * cutoff) + int(radius > _OUTER * cutoff)
        angular = np.asarray(MakeAngularGrid(directions[zone]))
        offsets.append(radius * angular[:, :3])
        weights.append(4 * np.pi * weight * angular[:, 3])
    return AtomGrid(np.concatenate(offsets), np.concatenate(weights))


@dataclass(frozen=True)
class Patches:
    """The points of one atom in groups of near ones, to leave out what does not reach a group.

    Parameters
    ----------
    offsets : (Q, P, 3)
        Points of each patch, Bohr; short ones are padded with a point of theirs.
    weights : (Q, P)
        Bohr^3; zero for padding.
    """

    offsets: Array
    weights: Array


@lru_cache
def grid_patches(level: int, cutoff: float) -> Patches:
    """Cut the points of one atom into patches; parameters and errors as for `atom_grid`."""
    grid = atom_grid(level, cutoff)
    groups = _halved(np.arange(len(grid.weights)), grid.offsets)
    table = np.stack([np.resize(group, max(map(len, groups))) for group in groups])
    padding = np.arange(table.shape[1]) >= np.array([[len(group)] for group in groups])
    return Patches(grid.offsets[table], np.where(padding, 0.0, grid.weights[table]))


def _halved(points: NDArray[np.int64], offsets: Array) -> list[NDArray[np.int64]]:
    """Halve a group of points along its longest extent until it is small enough."""
    if len(points) <= _PATCH:
        return [points]
    axis = int(np.ptp(offsets[points], axis=0).argmax())
    order = points[np.argsort(offsets[points, axis], kind="stable")]
    half = len(order) // 2
    return [group for part in (order[:half], order[half:]) for group in _halved(part, offsets)]


@dataclass(frozen=True)
class FieldGrid:
    """The points of one atom as a network takes them, on its device; shared, never to be changed.

    Parameters
    ----------
    offsets : Tensor, (Q, P, 3)
        From the nucleus, Bohr, by patches; the whole grid is one patch also.
    weights : Tensor, (Q, P)
        Bohr^3.
    shell_offsets : Tensor, (1, S, 3)
        One point for every shell, for what is spherical.
    shell_weights : Tensor, (1, S)
        Bohr^3.
    """

    offsets: Tensor
    weights: Tensor
    shell_offsets: Tensor
    shell_weights: Tensor


@lru_cache
def field_grid(level: int, cutoff: float, device: torch.device, dtype: torch.dtype, *, patched: bool) -> FieldGrid:
    """Put the points of one atom on a device; ``level``, ``cutoff`` and errors as for `atom_grid`."""
    grid = grid_patches(level, cutoff) if patched else atom_grid(level, cutoff)
    radii, volumes = radial_grid(GRID_LEVELS[level][0], cutoff)
    spread = radii[:, None] * np.eye(3)[0]
    with torch.inference_mode(False):  # what is kept must serve passes with gradients, too
        points = [torch.tensor(array, device=device, dtype=dtype) for array in (grid.offsets, grid.weights)]
        shells = [torch.tensor(array, device=device, dtype=dtype)[None] for array in (spread, 4 * np.pi * volumes)]
    return FieldGrid(*(points if patched else [array[None] for array in points]), *shells)


def envelope(r2: Tensor, cutoff: float) -> Tensor:
    """Evaluate (1 - r^2/c^2)^3 inside the cutoff c and 0 beyond; ``r2`` in Bohr^2, any shape.

    Notes
    -----
    Twice continuously differentiable (``test_envelope_is_smooth``).
    """
    return (1 - r2 / cutoff**2).clamp(min=0) ** 3


def cell_table(shifts: Tensor, alpha: float) -> Tensor:
    """Tabulate log2 p_A of every element over that of a point's own atom, for `powers`.

    Parameters
    ----------
    shifts : Tensor, (n_elements,)
        beta_A.
    alpha : float
        Bohr^-2.

    Returns
    -------
    Tensor, (n_elements, 6)
    """
    columns = (torch.full_like(shifts, factor) for factor in (-alpha * LOG2_E, 0.0, -1.5, 1.0, -1.0))
    return torch.stack([shifts * LOG2_E, *columns], 1)
