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

__all__ = ["AtomGrid", "FieldGrid", "atom_grid", "cell_ratios", "envelope", "field_grid", "radial_grid"]

Array = NDArray[np.float64]

#: r = c t^_MAP: shells are denser towards the nucleus, where orbitals vary faster.
_MAP = 1.5
#: Power and width b (Bohr^2) of the peak of p_A.
_PEAK_POWER, _PEAK_WIDTH = 1.5, 0.08
#: Shells inside the first of these fractions of the cutoff are inner, beyond the second outer.
_INNER, _OUTER = 0.12, 0.62


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
class FieldGrid:
    """The points of one atom as a network takes them, float64, on its device; shared, never to be changed.

    Parameters
    ----------
    offsets : Tensor, (P, 3)
        From the nucleus, Bohr.
    weights : Tensor, (P,)
        Bohr^3.
    shell_offsets : Tensor, (S, 3)
        One point for every shell, for what is spherical.
    shell_weights : Tensor, (S,)
        Bohr^3.
    """

    offsets: Tensor
    weights: Tensor
    shell_offsets: Tensor
    shell_weights: Tensor


@lru_cache
def field_grid(level: int, cutoff: float, device: torch.device) -> FieldGrid:
    """Put the points of one atom on a device; ``level``, ``cutoff`` and errors as for `atom_grid`."""
    grid = atom_grid(level, cutoff)
    radii, volumes = radial_grid(GRID_LEVELS[level][0], cutoff)
    shells = np.zeros((len(radii), 3))
    shells[:, 0] = radii
    arrays = (grid.offsets, grid.weights, shells, 4 * np.pi * volumes)
    with torch.inference_mode(False):  # what is kept must serve passes with gradients, too
        return FieldGrid(*(torch.tensor(array, device=device) for array in arrays))


def envelope(r2: Tensor, cutoff: float) -> Tensor:
    """Evaluate (1 - r^2/c^2)^3 inside the cutoff c and 0 beyond; ``r2`` in Bohr^2, any shape.

    Notes
    -----
    Twice continuously differentiable (``test_envelope_is_smooth``).
    """
    return (1 - r2 / cutoff**2).clamp(min=0) ** 3


def cell_ratios(r2: Tensor, own_r2: Tensor, cut: Tensor, own_cut: Tensor, shift: Tensor, alpha: float) -> Tensor:
    """Evaluate p_B / p_A at the points of A for all its neighbours B (any A will do: a common factor cancels).

    Parameters
    ----------
    r2 : Tensor, (N, P, K)
        Squared distances from the points of every centre to its neighbours, Bohr^2.
    own_r2 : Tensor, (P, 1)
        Squared distances to the centre itself.
    cut, own_cut : Tensor
        `envelope` of both.
    shift : Tensor, (N, 1, K)
        beta_B - beta_A.
    alpha : float
        Bohr^-2.

    Returns
    -------
    Tensor, (N, P, K)
        Zero for neighbours beyond the cutoff of a point; w_B = ratio_B / sum of ratios, the centre's own ratio being 1.
    """
    peak = (own_r2 + _PEAK_WIDTH) / (r2 + _PEAK_WIDTH)
    return torch.exp(shift - alpha * (r2 - own_r2)) * peak**_PEAK_POWER * (cut / own_cut)
