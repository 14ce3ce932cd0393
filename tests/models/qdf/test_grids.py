from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.models.qdf.config import GRID_LEVELS
from ase_mlwave.models.qdf.grids import atom_grid, envelope, radial_grid


@pytest.mark.parametrize("level", range(len(GRID_LEVELS)))
def test_grid_integrates_polynomials(level: int) -> None:
    cutoff = 5.0
    grid = atom_grid(level, cutoff)
    x, y, z = grid.offsets.T
    ball = 4 * np.pi / 3 * cutoff**3
    assert grid.weights.sum() == pytest.approx(ball, rel=1e-6)
    assert grid.weights @ (x * x) == pytest.approx(ball * cutoff**2 / 5, rel=1e-4)
    for odd in (x, y * z, x * y * z):
        assert grid.weights @ odd == pytest.approx(0, abs=1e-8 * ball)
    assert np.linalg.norm(grid.offsets, axis=1).max() < cutoff


def test_radial_grid_integrates_a_gaussian() -> None:
    radii, weights = radial_grid(12, 6.0)
    assert 4 * np.pi * weights @ np.exp(-(radii**2)) == pytest.approx(np.pi**1.5, rel=1e-4)


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="no grid level 9"):
        atom_grid(9, 5.0)


def test_envelope_is_smooth() -> None:
    r = torch.tensor([2.0 - 1e-5, 2.0 + 1e-5], dtype=torch.float64, requires_grad=True)
    value = envelope(r**2, 2.0)
    (first,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    for tensor in (value, first, second):
        assert tensor.abs().max() < 1e-3
