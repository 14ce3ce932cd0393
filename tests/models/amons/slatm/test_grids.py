"""Grids, Gaussian windows and the switching function."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.grids import Grid, angle_grid, distance_grid, switch, windows

CONFIG = SlatmConfig(elements=("H",))


def test_grids_are_those_of_the_publication() -> None:
    distances, angles = distance_grid(CONFIG), angle_grid(CONFIG)
    np.testing.assert_allclose(distances.points(), np.linspace(0.1, 4.8, 157), rtol=0, atol=1e-14)
    np.testing.assert_allclose(angles.points(), np.radians(np.linspace(-20, 200, 128)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("grid", [distance_grid(CONFIG), angle_grid(CONFIG)])
def test_windows_equal_whole_gaussians(grid: Grid) -> None:
    t = torch.linspace(0, min(grid.stop, np.pi), 1001, dtype=torch.float64)
    profiles = torch.stack([torch.ones(grid.n), torch.linspace(0, 2, grid.n)]).double()
    coefficients = torch.stack([1 - t / 5, t / 2])
    first, values = windows(t, coefficients, profiles, grid)
    index = first[:, None] + torch.arange(grid.window)
    assert index.min() >= 0
    assert index.max() < grid.n
    whole = torch.zeros(len(t), grid.n, dtype=torch.float64).scatter_add(1, index, values)
    gaussians = torch.exp(-((grid.points() - t[:, None]) ** 2) / (2 * grid.sigma**2))
    assert (whole - coefficients.T @ profiles * gaussians).abs().max() < 2e-14
    left_out = torch.ones_like(gaussians).scatter(1, index, 0.0) * gaussians
    assert left_out.max() < 3e-18


def test_a_grid_narrower_than_a_window_is_used_whole() -> None:
    grid = Grid.make(0.0, 0.2, 0.03, 0.05, 9.0)
    assert grid.window == grid.n == 7
    one = torch.ones(1, 7, dtype=torch.float64)
    first, values = windows(torch.tensor([0.0, 0.19], dtype=torch.float64), one[:, :2], one, grid)
    assert first.tolist() == [0, 0]
    assert values.shape == (2, 7)


def test_switch_is_one_inside_and_zero_outside() -> None:
    r = torch.tensor([0.1, 3.0, 3.8, 4.3, 4.8, 6.0], dtype=torch.float64)
    assert switch(r, 4.8, 1.0)[0].tolist() == pytest.approx([1, 1, 1, 0.5, 0, 0], abs=1e-12)
    inside = switch(torch.linspace(3.8, 4.8, 101, dtype=torch.float64), 4.8, 1.0)[0]
    assert (inside.diff() < 0).all()


@pytest.mark.parametrize("edge", [3.8, 4.8])
def test_switch_has_three_continuous_derivatives(edge: float) -> None:
    def derivatives(at: float) -> list[float]:
        r = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        (value, slope), found = switch(r, 4.8, 1.0), []
        for _ in range(4):
            (value,) = torch.autograd.grad(value, r, create_graph=True)
            found.append(float(value.detach()))
        assert found[0] == pytest.approx(float(slope.detach()), abs=1e-12)
        return found

    below, above = derivatives(edge - 1e-6), derivatives(edge + 1e-6)
    assert below[:3] == pytest.approx(above[:3], abs=2e-3)
    assert abs(below[3] - above[3]) > 100  # the fourth jumps
