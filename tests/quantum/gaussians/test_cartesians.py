"""Constant matrices of Cartesian derivatives, against automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyscf import gto
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.functional import hessian

from ase_mlwave.quantum.gaussians.cartesians import (
    derivative_matrix,
    derivative_terms,
    monomials,
    monomials_gradient,
    n_derivatives,
    product_rule,
    raised,
    solid_harmonics,
)

VECTOR = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64)


def _gaussian(r: Tensor) -> Tensor:
    return torch.exp(-0.7 * (r * r).sum())


def _derivatives(order: int) -> Tensor:
    """All derivatives up to an order of a Gaussian at VECTOR, by the matrix."""
    powers = monomials(VECTOR[:, None], order)
    radial = [(-1.4) ** m * _gaussian(VECTOR) for m in range(order + 1)]
    terms = torch.cat([h * powers[term] for h, term in zip(radial, derivative_terms(order), strict=True)])
    return (torch.from_numpy(derivative_matrix(order)) @ terms)[:, 0]


def test_second_derivatives_equal_automatic_ones() -> None:
    expected = hessian(_gaussian, VECTOR)[np.triu_indices(3)]
    torch.testing.assert_close(_derivatives(2)[4:], expected)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_gradient_of_derivatives_is_raised_derivatives(order: int) -> None:
    step = 1e-3
    every = _derivatives(order + 1)
    for axis, places in enumerate(raised(order)):
        powers = {}
        for shift in (-2, -1, 1, 2):
            moved = VECTOR.clone()
            moved[axis] += shift * step
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(globals(), "VECTOR", moved)
                powers[shift] = _derivatives(order)
        numerical = (powers[-2] - 8 * powers[-1] + 8 * powers[1] - powers[2]) / (12 * step)
        torch.testing.assert_close(every[places], numerical, rtol=0, atol=1e-8)
    assert len(every) == n_derivatives(order + 1)


def test_gradient_of_monomials() -> None:
    vectors = torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    powers = monomials(vectors.requires_grad_(), 4)
    weights = torch.randn_like(powers)
    (expected,) = torch.autograd.grad((weights * powers).sum(), vectors, retain_graph=True)
    torch.testing.assert_close(monomials_gradient(powers, weights), expected)
    assert gradcheck(lambda w: monomials_gradient(powers, w), weights.requires_grad_())


@pytest.mark.parametrize("l", [0, 1, 2, 3, 4])
def test_solid_harmonics_are_harmonic_and_normalised(l: int) -> None:
    """Only a harmonic polynomial of the gradient turns an s Gaussian into a spherical one."""
    powers = monomials(VECTOR[:, None].clone().requires_grad_(), l)
    harmonics = torch.from_numpy(solid_harmonics(l)) @ powers[n_derivatives(l - 1) :]
    # sum_m S_lm^2 = (2 l + 1) / (4 pi) r^(2 l)
    expected = (2 * l + 1) / (4 * np.pi) * (VECTOR @ VECTOR) ** l
    torch.testing.assert_close((harmonics**2).sum(), expected)

    def one(r: Tensor, m: int) -> Tensor:
        return (torch.from_numpy(solid_harmonics(l)) @ monomials(r[:, None], l)[n_derivatives(l - 1) :])[m, 0]

    for m in range(2 * l + 1):
        assert float(hessian(lambda r, m=m: one(r, m), VECTOR).trace()) == pytest.approx(0, abs=1e-12)


def test_order_of_harmonics_is_that_of_pyscf() -> None:
    mole = gto.M(atom="He 0 0 0", basis={"He": [[l, [0.7, 1.0]] for l in range(4)]}, unit="B", verbose=0)
    values = mole.eval_gto("GTOval_sph", VECTOR.numpy()[None])[0]
    start = 0
    for l in range(4):
        ours = (solid_harmonics(l) @ monomials(VECTOR[:, None], l)[n_derivatives(l - 1) :].numpy())[:, 0]
        theirs = values[start : start + 2 * l + 1]
        np.testing.assert_allclose(theirs / np.linalg.norm(theirs), ours / np.linalg.norm(ours), atol=1e-12)
        start += 2 * l + 1


def test_product_rule_of_s_functions_is_the_product() -> None:
    features, matrix = product_rule(0, 0)
    assert features.tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(matrix, np.full((1, 1, 1, 1), 1 / (4 * np.pi)))
