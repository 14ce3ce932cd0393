"""Potentials of spherical charges: exact everywhere, smooth where the formula changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import erf, hyp1f1
from torch.autograd import gradcheck, gradgradcheck

from ase_mlwave.quantum.gaussians import radial
from ase_mlwave.quantum.gaussians.radial import Charges, Table, boys, coulomb_radial

WIDTHS = torch.tensor([0.0, 0.05, 2.0], dtype=torch.float64)
STRENGTH = torch.tensor([[-6.0, 0.0, 0.0], [0.0, 4.0, 2.0]], dtype=torch.float64)
EXPONENTS = torch.tensor([0.3, 2.0, 900.0], dtype=torch.float64)
ORDERS = 8


def _charges(n_centres: int = 1) -> Charges:
    table = Table.of(WIDTHS, STRENGTH, EXPONENTS, orders=ORDERS)
    return Charges.of([table], torch.zeros(n_centres, dtype=torch.int64), EXPONENTS, torch.arange(3))


def _exact(u: float, exponent: float, order: int, potential: int) -> float:
    """h_n by Boys' functions as confluent hypergeometric ones."""
    alpha = 1 / (WIDTHS.numpy() + 1 / exponent)
    boys_function = hyp1f1(order + 0.5, order + 1.5, -alpha * u) / (2 * order + 1)
    factor = 2 / np.sqrt(np.pi) * np.sqrt(alpha) * (-2 * alpha) ** order
    return float((STRENGTH[potential].numpy() * factor * boys_function).sum())


@pytest.mark.parametrize("order", [0, 1, 3, 7])
@pytest.mark.parametrize("potential", [0, 1])
def test_radial_derivatives_equal_boys_functions(order: int, potential: int) -> None:
    charges = _charges()
    limit = charges.near[0, potential]
    scaled = [0.0, 1e-9, 0.2, 0.5, 0.999999, 1.000001, 1.5, 3.0, 9.0, 20.0]
    u = torch.tensor(scaled, dtype=torch.float64)[:, None] * limit
    values = coulomb_radial(u, _charges(len(u)), ORDERS)[order, :, potential]
    expected = np.array(
        [[_exact(float(x), float(p), order, potential) for x, p in zip(row, EXPONENTS, strict=True)] for row in u]
    )
    largest = np.abs(expected).max(0)  # the higher, the steeper: errors count against the largest value
    np.testing.assert_allclose(values.numpy() / largest, expected / largest, atol=1e-12)


@pytest.mark.parametrize("n_elements", [1, 2])
def test_gpus_way_equals_that_of_cpus(n_elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [Table.of(WIDTHS, factor * STRENGTH, EXPONENTS, orders=ORDERS) for factor in range(1, n_elements + 1)]
    elements = torch.arange(4) % n_elements
    charges = Charges.of(tables, elements, EXPONENTS, torch.tensor([2, 0, 1, 1, 0]))
    few, charges = charges, replace(charges, every=None)
    assert few.every is not None
    u = charges.near[0, 1] * torch.tensor([0.0, 0.4, 0.99, 1.7], dtype=torch.float64)[:, None]
    listed = coulomb_radial(u, charges, 4)
    torch.testing.assert_close(coulomb_radial(u, few, 4), listed, rtol=1e-13, atol=0)
    monkeypatch.setattr(radial, "_LISTING", ())
    torch.testing.assert_close(coulomb_radial(u, charges, 4), listed, rtol=1e-13, atol=0)


def test_far_away_a_charge_is_a_point() -> None:
    u = torch.full((1, 3), 1e6, dtype=torch.float64)
    values = coulomb_radial(u, _charges(), 2)[:, 0]
    torch.testing.assert_close(values[0, 0], torch.full((3,), -6e-3, dtype=torch.float64))
    torch.testing.assert_close(values[0, 1], torch.full((3,), 6e-3, dtype=torch.float64))
    torch.testing.assert_close(values[1], -values[0] / u)


def test_derivatives_to_second_order() -> None:
    charges = _charges()
    u = (charges.near[:, 0] * 0.7).clone().requires_grad_()

    scale = coulomb_radial(u, charges, 2).detach().abs()

    def function(u: torch.Tensor) -> torch.Tensor:
        return coulomb_radial(u, charges, 2) / scale

    assert gradcheck(function, (u,), eps=1e-7, atol=1e-5)
    assert gradgradcheck(function, (u,), eps=1e-7, atol=1e-4, rtol=1e-4)


def test_boys_functions() -> None:
    x = torch.tensor([0.0, 1e-12, 0.3, 2.5], dtype=torch.float64)
    values = boys(x, 30)
    for n in (0, 1, 9, 29):
        np.testing.assert_allclose(values[n].numpy(), hyp1f1(n + 0.5, n + 1.5, -x.numpy()) / (2 * n + 1), rtol=1e-13)
    root = np.sqrt(2.5)
    assert float(values[0, 3]) == pytest.approx(np.sqrt(np.pi) / (2 * root) * erf(root), rel=1e-14)
