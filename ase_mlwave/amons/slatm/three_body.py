"""The spectrum of angles of an atom: the triple-dipole energy of Axilrod, Teller and Muto, by elements of the partners.

A triangle with sides a, b at the centre, c opposite and angles A, C_1, C_2 adds at the grid points x around A

    (1 + cos x cos C_1 cos C_2) / (a b c)^3 exp(-(x - A)^2 / 2 s^2).

A = atan2(sin A, cos A) has a kink where the triangle becomes collinear: sin A = |X| / (a b) with the vector product X
of the two sides. With ``soften`` = e > 0 the angle is atan2(sqrt(sin^2 A + e^2), cos A), which is infinitely
differentiable; the linear triangle then lies at 180 degrees - e, and an angle of 120 degrees is off by e^2 / 3.5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ase_mlwave.amons.slatm.grids import Grid, gaussian_windows

__all__ = ["angle", "angle_spectrum"]

#: Below this sin^2 an angle that is not softened is taken as constant: its derivative does not exist.
_COLLINEAR = 1e-28


def angle(u: Tensor, v: Tensor, a2: Tensor, b2: Tensor, soften: float) -> Tensor:
    """Evaluate the angle between vectors.

    Parameters
    ----------
    u, v : Tensor, (T, 3)
        Vectors.
    a2, b2 : Tensor, (T,)
        Their squared lengths.
    soften : float
        e above; 0 for the angle itself, whose derivative is then 0 instead of undefined for parallel vectors.

    Returns
    -------
    Tensor, (T,)
        Radians, from 0 to pi.

    Notes
    -----
    Full precision at all angles, unlike the inverse cosine (``test_angles_near_180_degrees_are_precise``).
    """
    product = a2 * b2
    square = torch.linalg.cross(u, v).square().sum(-1) / product  # sin^2
    cosine = (u * v).sum(-1) / product.sqrt()
    if soften:
        return torch.atan2((square + soften**2).sqrt(), cosine)
    bent = square > _COLLINEAR
    sine = torch.where(bent, square, 1.0).sqrt()
    return torch.atan2(torch.where(bent, sine, 0.0), cosine)


def angle_spectrum(
    u: Tensor, v: Tensor, sides: tuple[Tensor, Tensor, Tensor], weights: Tensor, grid: Grid, soften: float
) -> tuple[Tensor, Tensor]:
    """Evaluate the contributions of triangles to the spectra of their centres.

    Parameters
    ----------
    u, v : Tensor, (T, 3)
        Vectors from the centre to the two other atoms, Angstrom.
    sides : three Tensors, (T,)
        Squared lengths of u, v and u - v, Angstrom^2.
    weights : Tensor, (T,)
        z1 z2 z3 times the switching functions of the sides (or 1 inside and 0 outside of the cutoff).
    grid : Grid
        Of angles.
    soften : float
        See `angle`.

    Returns
    -------
    index : Tensor, (T, grid.window)
        Grid points of every triangle.
    values : Tensor, (T, grid.window)
        weight / 3 dg / (sqrt(2 pi) s) (1 + cos x cos C_1 cos C_2) / (a b c)^3 exp(-(x - A)^2 / 2 s^2).

    Notes
    -----
    With ``soften`` all derivatives are continuous at collinear triangles
    (``test_a_triangle_passes_through_collinearity``). Source: Huang and von Lilienfeld 2020, supplement; there is no
    factor 3 before the cosines, and the first of them is that of the grid.
    """
    a2, b2, c2 = sides
    between = (u * v).sum(-1)
    cosines = (a2 - between) * (b2 - between) / (c2 * (a2 * b2).sqrt())  # of the two angles that are not the centre's
    product = a2 * b2 * c2
    strength = grid.scale / 3 * weights / (product * product.sqrt())
    index, values = gaussian_windows(angle(u, v, a2, b2, soften), grid)
    on_grid = torch.cos(grid.points(u))[index]
    return index, values * (strength[:, None] + (strength * cosines)[:, None] * on_grid)
