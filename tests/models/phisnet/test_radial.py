"""Radial functions and the cutoff function."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import comb

from ase_mlwave.models.phisnet.radial import BernsteinBasis, smooth_cutoff, switch_off

CUTOFF = 6.0


def test_bernstein_basis_equals_its_definition() -> None:
    r = torch.linspace(0.3, 5.9, 23, dtype=torch.float64)
    alpha = 0.7
    values, cut = BernsteinBasis(9, CUTOFF, alpha).double()(r)
    x = np.exp(-alpha * r.numpy())
    for k in range(9):
        expected = comb(8, k) * x**k * (1 - x) ** (8 - k) * cut.numpy()
        np.testing.assert_allclose(values[:, k].detach().numpy(), expected, rtol=1e-6, atol=1e-12)


def test_bernstein_basis_sums_to_cutoff() -> None:
    r = torch.linspace(0.05, 7.0, 50, dtype=torch.float64)
    values, cut = BernsteinBasis(64, CUTOFF).double()(r)
    torch.testing.assert_close(values.sum(dim=1), cut, rtol=1e-12, atol=1e-14)
    assert bool((values >= 0).all())


def test_bernstein_basis_is_smooth() -> None:
    """Values and three derivatives vanish at the cutoff; they are finite close to it and near coinciding atoms."""
    basis = BernsteinBasis(8, CUTOFF).double()
    r = torch.tensor([0.02, 0.5, CUTOFF - 0.05, CUTOFF - 1e-4, CUTOFF, CUTOFF + 1.0], dtype=torch.float64)
    r.requires_grad_()
    derivative = basis(r)[0].sum(dim=1) + basis(r)[0][:, 3]
    for _ in range(4):
        assert bool(torch.isfinite(derivative).all())
        assert float(derivative[2:].detach().abs().max()) < 1e-12
        (derivative,) = torch.autograd.grad(derivative.sum(), r, create_graph=True)


def test_cutoff_is_smooth() -> None:
    r = torch.linspace(0, 8, 81, dtype=torch.float64)
    value = smooth_cutoff(r, CUTOFF)
    assert float(value[0]) == 1.0
    assert not value[r >= CUTOFF].any()
    assert bool((value.diff() <= 0).all())
    assert bool((value[r < CUTOFF - 0.5] > 0).all())
    steep = smooth_cutoff(torch.tensor([CUTOFF - 0.1], dtype=torch.float64), CUTOFF)
    assert float(steep) < 1e-12


def test_switch_has_two_continuous_derivatives() -> None:
    """One up to 3 Bohr before the cutoff, zero behind it, and nowhere a jump of its slope or curvature."""
    r = torch.linspace(0, 8, 80001, dtype=torch.float64)
    value = switch_off(r, CUTOFF)
    assert bool((value[r <= CUTOFF - 3] == 1).all())
    assert not value[r >= CUTOFF].any()
    assert bool((value.diff() <= 0).all())
    step = float(r[1] - r[0])
    curvature = value.diff().diff() / step**2
    assert float(curvature.diff().abs().max()) < 10 * step


def test_decay_is_learned_and_stays_positive() -> None:
    basis = BernsteinBasis(4, CUTOFF)
    value = basis(torch.tensor([1.0, 2.0]))[0][:, 0].sum()
    value.backward()
    assert float(basis.raw_alpha.grad) != 0.0  # type: ignore[arg-type]
    with torch.no_grad():
        basis.raw_alpha -= 30.0
    values = basis(torch.tensor([1.0]))[0]
    assert bool(torch.isfinite(values).all())
    assert float(values.detach().max()) <= 1.0
