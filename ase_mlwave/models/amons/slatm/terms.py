"""What pairs and triangles add to the spectra of an atom: the centre of a Gaussian and its coefficients.

A pair adds London's attraction, z_1 z_2 / 2 x^-6, at the distance r. A triangle with sides a, b at the centre, c
opposite and angles A, C_1, C_2 adds the triple-dipole energy of Axilrod, Teller and Muto at the angle A:

    z_1 z_2 z_3 / 3 (1 + cos x cos C_1 cos C_2) / (a b c)^3 exp(-(x - A)^2 / 2 s^2), the first cosine on the grid x.

A = atan2(sin A, cos A) has a kink where the triangle becomes collinear: sin A = |X| / (a b) with the vector product X
of the two sides. With ``soften`` = e > 0 the angle is atan2(sqrt(sin^2 A + e^2), cos A), which is infinitely
differentiable; the linear triangle then lies at 180 degrees - e, and an angle of 120 degrees is off by e^2 / 3.5.

Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020), supplement.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ase_mlwave.models.amons.slatm.grids import Grid

__all__ = ["angle", "angle_profiles", "angle_terms", "pair_profiles", "pair_terms"]

#: Below this sin^2 an angle that is not softened is taken as constant: its derivative does not exist.
_COLLINEAR = 1e-28


def pair_profiles(grid: Grid, power: int, like: Tensor) -> Tensor:
    """Evaluate x^-power on the grid of distances, (1, n)."""
    return (grid.points(like) ** -power)[None]


def pair_terms(charges: Tensor, fade: Tensor, grid: Grid) -> Tensor:
    """Evaluate the coefficients of pairs.

    Parameters
    ----------
    charges : Tensor, (E,)
        Products of the two atomic numbers.
    fade : Tensor, (E,)
        Switching function of the distance, or 1 inside and 0 outside of the cutoff.
    grid : Grid
        Of distances.

    Returns
    -------
    Tensor, (1, E)
        z_1 z_2 / 2 dg / (sqrt(2 pi) s) fade.
    """
    return (0.5 * grid.scale * charges * fade)[None]


def angle_profiles(grid: Grid, like: Tensor) -> Tensor:
    """Evaluate 1 and cos x on the grid of angles, (2, n)."""
    cosines = torch.cos(grid.points(like))
    return torch.stack([torch.ones_like(cosines), cosines])


def angle_terms(
    u: Tensor,
    v: Tensor,
    sides: tuple[Tensor, Tensor, Tensor],
    weights: Tensor,
    grid: Grid,
    soften: float,
    power: float = 3.0,
) -> tuple[Tensor, Tensor]:
    """Evaluate the angles of triangles at their centres, and their coefficients.

    Parameters
    ----------
    u, v : Tensor, (T, 3)
        Vectors from the centre to the two other atoms, Angstrom.
    sides : three Tensors, (T,)
        Squared lengths of u, v and u - v, Angstrom^2.
    weights : Tensor, (T,)
        z_1 z_2 z_3 times the switching functions of the sides (or 1 inside and 0 outside of the cutoff).
    grid : Grid
        Of angles.
    soften : float
        See `angle`.
    power : float
        p; that of the publication is 3.

    Returns
    -------
    angles : Tensor, (T,)
        Radians.
    coefficients : Tensor, (2, T)
        Those of 1 and cos x: weight / 3 dg / (sqrt(2 pi) s) / (a b c)^p, and that times cos C_1 cos C_2.

    Notes
    -----
    With ``soften`` all derivatives are continuous at collinear triangles
    (``test_a_triangle_passes_through_collinearity``).
    """
    a2, b2, c2 = sides
    between = (u * v).sum(-1)
    cosines = (a2 - between) * (b2 - between) / (c2 * (a2 * b2).sqrt())
    product = a2 * b2 * c2
    strength = grid.scale / 3 * weights / _power(product, power / 2)
    return angle(u, v, a2, b2, soften), torch.stack([strength, strength * cosines])


def angle(u: Tensor, v: Tensor, a2: Tensor, b2: Tensor, soften: float) -> Tensor:
    """Evaluate the angle between vectors.

    Parameters
    ----------
    u, v : Tensor, (T, 3)
        Vectors.
    a2, b2 : Tensor, (T,)
        Their squared lengths.
    soften : float
        e of the module's text; 0 for the angle itself, whose derivative is then 0 instead of undefined for parallel
        vectors.

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


def _power(x: Tensor, exponent: float) -> Tensor:
    """Raise to a multiple of one half without a logarithm where that is possible."""
    if exponent == 1.5:
        return x * x.sqrt()
    return x if exponent == 1.0 else x**exponent
