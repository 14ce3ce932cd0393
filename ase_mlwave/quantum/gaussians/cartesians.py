"""Constant matrices of Cartesian derivatives: of functions of a distance, and of products of two Gaussians.

Components of degree n are the monomials x^i y^j z^k with i + j + k = n, x first: xx, xy, xz, yy, yz, zz.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from pyscf import gto
from torch import Tensor

__all__ = [
    "derivative_matrix",
    "derivative_terms",
    "monomials",
    "monomials_gradient",
    "n_components",
    "n_derivatives",
    "product_rule",
    "raised",
    "solid_harmonics",
]

Powers = tuple[int, int, int]


def n_components(degree: int) -> int:
    """Count monomials of one degree."""
    return (degree + 1) * (degree + 2) // 2


def n_derivatives(order: int) -> int:
    """Count all Cartesian derivatives of orders 0 .. ``order``."""
    return (order + 1) * (order + 2) * (order + 3) // 6


def _components(degree: int) -> list[Powers]:
    """List the powers (i, j, k) of the monomials of one degree, in order."""
    return [(i, j, degree - i - j) for i in range(degree, -1, -1) for j in range(degree - i, -1, -1)]


def _component(powers: Powers) -> int:
    """Give the place of a monomial among those of its degree."""
    below = sum(powers) - powers[0]
    return below * (below + 1) // 2 + powers[2]


def monomials(vectors: Tensor, degree: int) -> Tensor:
    """Compute all monomials of vectors up to a degree.

    Parameters
    ----------
    vectors : Tensor, (3, ...)
    degree : int
        Largest degree.

    Returns
    -------
    Tensor, (n_derivatives(degree), ...)
        By degree, from 0 on.
    """
    parts = [torch.ones_like(vectors[:1]), vectors][: degree + 1]
    for n in range(2, degree + 1):
        lower, axes = _ladder(n, vectors.device)
        parts.append(parts[-1].index_select(0, lower) * vectors.index_select(0, axes))
    return torch.cat(parts)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must serve gradients later
def _ladder(degree: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Say of which monomial of one degree less, and which component of the vector, each is the product."""
    count = n_components(degree - 1)
    lower = [*range(count), *range(count - degree, count), count - 1]
    axes = [0] * count + [1] * degree + [2]
    return torch.tensor(lower).to(device), torch.tensor(axes).to(device)


def monomials_gradient(powers: Tensor, gradients: Tensor) -> Tensor:
    """Carry gradients of monomials to the vectors.

    Parameters
    ----------
    powers, gradients : Tensor, (n_derivatives(degree), ...)
        From `monomials`, and with respect to them.

    Returns
    -------
    Tensor, (3, ...)
    """
    places, factors = _slopes(len(powers), powers.device)
    n = places.numel() // 3
    above = gradients.index_select(0, places).view(3, n, *gradients.shape[1:])
    return (above * (factors.view(3, n, *[1] * (powers.dim() - 1)) * powers[:n])).sum(1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _slopes(height: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Differentiate monomials along x, y, z: the place of each derivative's origin, and the factor, (3 n,) each."""
    degree = next(n for n in range(height) if n_derivatives(n) == height)
    below = [powers for n in range(degree) for powers in _components(n)]
    factors = [float(powers[axis] + 1) for axis in range(3) for powers in below]
    places = raised(degree - 1) if degree else np.zeros((3, 0), dtype=np.int64)
    return torch.from_numpy(places.ravel()).to(device), torch.tensor(factors, dtype=torch.float64).to(device)


@lru_cache(maxsize=16)
def derivative_terms(order: int) -> tuple[slice, ...]:
    """List what Cartesian derivatives of a function of the distance consist of.

    Parameters
    ----------
    order : int
        Largest number of derivatives, L.

    Returns
    -------
    tuple of slice, (L + 1,)
        The monomials that the radial derivative h_m is multiplied with, m = 0 .. L: those of the degrees from
        max(0, 2 m - L) to m, among all.
    """
    return tuple(slice(n_derivatives(max(0, 2 * m - order) - 1), n_derivatives(m)) for m in range(order + 1))


@lru_cache(maxsize=16)
def derivative_matrix(order: int) -> NDArray[np.float64]:
    """Express all Cartesian derivatives up to an order by radial derivatives and monomials.

    Parameters
    ----------
    order : int
        L.

    Returns
    -------
    ndarray, (n_derivatives(L), sum of lengths)
        Columns as in `derivative_terms`. For a function f(u) of u = x^2 + y^2 + z^2 with h_m = (2 d/du)^m f:
        d h_m / dx = x h_{m+1}.
    """
    terms = derivative_terms(order)
    lengths = [term.stop - term.start for term in terms]
    first = np.cumsum(lengths) - lengths - [term.start for term in terms]
    rows = [powers for n in range(order + 1) for powers in _components(n)]
    matrix = np.zeros((len(rows), sum(lengths)))
    for row, powers in enumerate(rows):
        for (m, monomial), factor in _derivative(powers).items():
            matrix[row, first[m] + n_derivatives(sum(monomial) - 1) + _component(monomial)] = factor
    return matrix


def _derivative(powers: Powers) -> dict[tuple[int, Powers], float]:
    """Differentiate f(u): (m, monomial) -> factor."""
    terms: dict[tuple[int, Powers], float] = {(0, (0, 0, 0)): 1.0}
    for axis, times in enumerate(powers):
        for _ in range(times):
            result: dict[tuple[int, Powers], float] = defaultdict(float)
            for (m, monomial), factor in terms.items():
                result[m + 1, _raised(monomial, axis, 1)] += factor
                if monomial[axis]:
                    result[m, _raised(monomial, axis, -1)] += factor * monomial[axis]
            terms = result
    return terms


def _raised(powers: Powers, axis: int, by: int) -> Powers:
    i, j, k = (power + by * (place == axis) for place, power in enumerate(powers))
    return i, j, k


@lru_cache(maxsize=16)
def raised(order: int) -> NDArray[np.int64]:
    """Give the places of one more derivative along x, y, z, (3, n_derivatives(order)), among those up to order + 1."""
    return np.array(
        [
            [
                n_derivatives(n) + _component(_raised(powers, axis, 1))
                for n in range(order + 1)
                for powers in _components(n)
            ]
            for axis in range(3)
        ]
    )


def _lower(powers: Powers) -> Iterator[tuple[Powers, int]]:
    """Run over all ways to take some of the factors of a monomial, with their number."""
    for taken in product(*(range(power + 1) for power in powers)):
        i, j, k = taken
        yield (i, j, k), comb(powers[0], i) * comb(powers[1], j) * comb(powers[2], k)


@lru_cache(maxsize=64)
def product_rule(la: int, lb: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    r"""Apply two solid harmonics of nuclear gradients to a product K(R) V(P).

    A spherical Gaussian is a derivative of an s Gaussian (Hobson's theorem, for solid harmonics S):
    :math:`(2a)^l S_l(r - A) e^{-a |r-A|^2} = S_l(\nabla_A) e^{-a |r-A|^2}`. With R = A - B, P = w_a A + w_b B,
    :math:`\nabla_A = w_a \nabla_P + \nabla_R` and :math:`\nabla_B = w_b \nabla_P - \nabla_R`.

    Parameters
    ----------
    la, lb : int
        Angular momenta.

    Returns
    -------
    features : ndarray, (F, 3)
        (s, t, c): powers of w_a and w_b, and the component c among all derivatives of K of orders 0 .. la + lb.
    matrix : ndarray, (F, 2 la + 1, 2 lb + 1, H)
        S_la(grad_A) S_lb(grad_B) K V = sum_f w_a^s w_b^t (D_c K) matrix[f, :, :, h] (D_h V), h running over all
        derivatives of V of orders 0 .. la + lb.
    """
    total = la + lb
    starts = np.cumsum([0] + [n_components(n) for n in range(total + 1)])
    features = [
        (s, t, starts[total - s - t] + c)
        for s in range(la + 1)
        for t in range(lb + 1)
        for c in range(n_components(total - s - t))
    ]
    place = {feature: i for i, feature in enumerate(features)}
    matrix = np.zeros((len(features), 2 * la + 1, 2 * lb + 1, starts[-1]))
    sa, sb = solid_harmonics(la), solid_harmonics(lb)
    for (i, alpha), (j, beta) in product(enumerate(_components(la)), enumerate(_components(lb))):
        harmonics = np.outer(sa[:, i], sb[:, j])
        if not harmonics.any():
            continue
        for (left, ways_a), (right, ways_b) in product(_lower(alpha), _lower(beta)):
            s, t = sum(left), sum(right)
            of_p = tuple(p + q for p, q in zip(left, right, strict=True))
            of_r = tuple(a + b - p for a, b, p in zip(alpha, beta, of_p, strict=True))
            row = place[s, t, starts[total - s - t] + _component(of_r)]  # type: ignore[arg-type]
            column = starts[s + t] + _component(of_p)  # type: ignore[arg-type]
            matrix[row, :, :, column] += (-1) ** (lb - t) * ways_a * ways_b * harmonics
    return np.array(features), matrix


@lru_cache(maxsize=16)
def solid_harmonics(l: int) -> NDArray[np.float64]:
    """Give real solid harmonics r^l Y_lm as combinations of monomials, (2l + 1, n_components(l)), in PySCF's order."""
    matrix: NDArray[np.float64] = np.asarray(gto.cart2sph(l)).T
    return matrix
