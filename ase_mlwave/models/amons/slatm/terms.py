"""What pairs and triangles add to the spectra of an atom: the centre of a Gaussian and its coefficients.

All are functions of squared distances alone, and come with their derivatives by these. A pair adds London's attraction,
z_1 z_2 / 2 x^-6, at the distance r. A triangle with sides a, b at the centre, c opposite and angles A, C_1, C_2 adds
the triple-dipole energy of Axilrod, Teller and Muto at the angle A:

    z_1 z_2 z_3 / 3 (1 + cos x cos C_1 cos C_2) / (a b c)^3 exp(-(x - A)^2 / 2 s^2), the first cosine on the grid x.

A = atan2(sin A, cos A) has a kink where the triangle becomes collinear. With ``soften`` = e > 0 the angle is
atan2(sqrt(sin^2 A + e^2), cos A) = acos(cos A / sqrt(1 + e^2)), which is infinitely differentiable; the linear triangle
then lies at 180 degrees - e, and an angle of 120 degrees is off by e^2 / 3.5.

Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020), supplement.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["angle", "pair_terms", "side_weights", "triangle_terms"]

#: Below this sin^2 an angle that is not softened is taken as constant: its derivative does not exist.
_COLLINEAR = 1e-28


def pair_terms(r: Tensor, fade: tuple[Tensor, Tensor], strengths: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate centres and coefficients of pairs.

    Parameters
    ----------
    r : Tensor, (E,)
        Distances, Angstrom.
    fade : two Tensors, (E,)
        Switching function of the distance, or 1 inside and 0 outside of the cutoff, and its derivative.
    strengths : Tensor, (E,)
        z_1 z_2 / 2 dg / (sqrt(2 pi) s).

    Returns
    -------
    values, slopes : Tensor, (2, E)
        r and strength fade; and their derivatives by r^2.
    """
    slopes = torch.stack([torch.ones_like(r), strengths * fade[1]]) / (2 * r)
    return torch.stack([r, strengths * fade[0]]), slopes


def side_weights(r: Tensor, fade: tuple[Tensor, Tensor], power: float) -> tuple[Tensor, Tensor]:
    """Evaluate what a pair contributes as the side of a triangle.

    Parameters
    ----------
    r, fade
        As in `pair_terms`.
    power : float
        p; that of the publication is 3.

    Returns
    -------
    weights, slopes : Tensor, (E,)
        fade / r^p, and its derivative by r^2.
    """
    decay = r**-power
    weights = fade[0] * decay
    return weights, (fade[1] * decay - power * weights / r) / (2 * r)


def triangle_terms(
    squares: Tensor, weights: Tensor, by_squares: Tensor | None, strengths: Tensor, soften: float, angles: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Evaluate centres and coefficients of triangles.

    Parameters
    ----------
    squares : Tensor, (3, T)
        Squared lengths of the two sides at the centre and of the third one, Angstrom^2.
    weights : Tensor, (3, T)
        Of these sides, from `side_weights`.
    by_squares : Tensor, (3, T), optional
        Derivatives of the weights; without them no slopes.
    strengths : Tensor, (T,)
        z_1 z_2 z_3 / 3 dg / (sqrt(2 pi) s).
    soften : float
        e of the module's text.
    angles : Tensor, (T,), optional
        From `angle`, in place of softened ones.

    Returns
    -------
    values : Tensor, (3, T)
        Angles at the centres, radians; coefficients of 1, the product of strength and weights, and of cos x: that times
        cos C_1 cos C_2.
    slopes : Tensor, (3, 3, T)
        Derivatives of these, one after the other, by the three squares; (3, 3, 0) without those of the weights.

    Notes
    -----
    With ``soften`` all derivatives are continuous at collinear triangles
    (``test_a_triangle_passes_through_collinearity``).
    """
    a, b, c = squares
    inverse = 0.5 * (a * b).rsqrt()  # 1 / 2 ab of the law of cosines
    first, second = (a + c - b) * 0.5, (b + c - a) * 0.5
    cosine = (a + b - c) * inverse
    product = 2 * first * second * inverse / c  # cos C_1 cos C_2
    outer = strengths * weights[0]
    amount = outer * weights[1] * weights[2]
    if angles is None:
        angles = torch.acos(cosine / math.sqrt(1 + soften**2))
        sine = (1 + soften**2 - cosine.square()).sqrt()
    else:
        sine = torch.sin(angles)
    values = torch.stack([angles, amount, amount * product])
    if by_squares is None:
        return values, values.new_empty(3, 3, 0)
    bend = torch.where(sine.square() > _COLLINEAR, -inverse / sine, 0.0)
    of_angles = torch.stack([first / a, second / b, -torch.ones_like(a)]) * bend
    of_amounts = torch.stack([strengths * by_squares[0] * weights[1], outer * by_squares[1], outer * weights[1]])
    of_amounts = of_amounts * torch.stack([weights[2], weights[2], by_squares[2]])
    tilt = (second - first) * inverse / c
    of_products = torch.stack([tilt - 0.5 * product / a, -tilt - 0.5 * product / b, inverse - product / c])
    return values, torch.stack([of_angles, of_amounts, of_amounts * product + amount * of_products])


def angle(u: Tensor, v: Tensor) -> Tensor:
    """Evaluate the angle between vectors.

    Parameters
    ----------
    u, v : Tensor, (T, 3)
        Vectors.

    Returns
    -------
    Tensor, (T,)
        Radians, from 0 to pi; the derivative is 0 instead of undefined for parallel vectors.

    Notes
    -----
    Full precision at all angles, unlike the inverse cosine (``test_angles_near_180_degrees_are_precise``).
    """
    product = u.square().sum(-1) * v.square().sum(-1)
    square = torch.linalg.cross(u, v).square().sum(-1) / product  # sin^2
    cosine = (u * v).sum(-1) / product.sqrt()
    bent = square > _COLLINEAR
    sine = torch.where(bent, square, 1.0).sqrt()
    return torch.atan2(torch.where(bent, sine, 0.0), cosine)
