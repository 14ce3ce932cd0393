"""The equations of kernel ridge regression, what they leave open, and how they fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ase_mlwave.models.amons.regression.solver import CoincidingRowsError, posterior_variance, solve

N = 12


def kernel_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.exp(-((x[:, None] - y) ** 2) / 2)


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.sort(rng.uniform(0, 8, size=N)))
    y = torch.sin(x) + torch.from_numpy(rng.normal(scale=0.1, size=N))
    return x, y, torch.full((N,), 1e-2, dtype=torch.float64)


def test_solution_fits_but_for_the_penalty(case: tuple[torch.Tensor, ...]) -> None:
    x, y, penalties = case
    kernel = kernel_of(x, x)
    solution = solve(kernel, y, penalties)
    torch.testing.assert_close(kernel @ solution.coefficients + penalties * solution.coefficients, y)
    assert (kernel == kernel_of(x, x)).all()


def test_likelihood_is_that_of_the_normal_distribution(case: tuple[torch.Tensor, ...]) -> None:
    x, y, penalties = case
    matrix = (kernel_of(x, x) + torch.diag(penalties)).numpy()
    amplitude = float(y.numpy() @ np.linalg.solve(matrix, y.numpy())) / N
    expected = multivariate_normal.logpdf(y.numpy(), cov=amplitude * matrix)
    assert solve(kernel_of(x, x), y, penalties).log_likelihood == pytest.approx(expected, abs=1e-9)


def test_left_out_rows(case: tuple[torch.Tensor, ...]) -> None:
    x, y, penalties = case
    whole = solve(kernel_of(x, x), y, penalties)
    for left in range(N):
        kept = torch.arange(N) != left
        part = solve(kernel_of(x[kept], x[kept]), y[kept], penalties[kept])
        row = kernel_of(x[left : left + 1], x[kept])
        residual = y[left] - (row @ part.coefficients)[0]
        noisy = posterior_variance(part.factor, row, torch.ones(1, dtype=torch.float64), 1.0) + penalties[left]
        assert whole.residuals[left] == pytest.approx(residual.item(), rel=1e-8)
        assert whole.variances[left] == pytest.approx(whole.amplitude * noisy.item(), rel=1e-8)


def test_variances_are_those_of_the_residuals(case: tuple[torch.Tensor, ...]) -> None:
    solution = solve(kernel_of(case[0], case[0]), *case[1:])
    assert float((solution.residuals**2 / solution.variances).mean()) == pytest.approx(1.0, rel=1e-12)


def test_slopes_that_are_easy_do_not_make_energies_certain(case: tuple[torch.Tensor, ...]) -> None:
    x, y, penalties = case
    y = torch.cat([3 * y[:4], 0 * y[4:]])  # the last rows are foretold without error, the first ones are not
    alone = solve(kernel_of(x, x), y, penalties)
    known = solve(kernel_of(x, x), y, penalties, n_energies=4)
    asked = known.residuals**2 / known.variances
    assert float(asked[:4].mean()) == pytest.approx(1.0, rel=1e-12)
    assert known.amplitude > 1.5 * alone.amplitude
    hard = solve(kernel_of(x, x), y.flip(0), penalties, n_energies=4)  # and never less certain than all rows ask for
    assert float((hard.residuals**2 / hard.variances).mean()) == pytest.approx(1.0, rel=1e-12)


def test_energies_that_were_fitted_say_less(case: tuple[torch.Tensor, ...]) -> None:
    x, y, penalties = case
    plain = solve(kernel_of(x, x), y, penalties).amplitude
    assert solve(kernel_of(x, x), y, penalties, n_fitted=3).amplitude == pytest.approx(plain * N / (N - 3), rel=1e-12)
    nothing = solve(kernel_of(x, x), 0 * y, penalties, n_fitted=N)  # all energies went into the baseline
    assert nothing.amplitude == pytest.approx(9e-4)


def test_variance_vanishes_at_training_points_and_returns_far_away(case: tuple[torch.Tensor, ...]) -> None:
    x, y, _ = case
    solution = solve(kernel_of(x, x), y, torch.full((N,), 1e-10, dtype=torch.float64))
    queries = torch.tensor([float(x[3]), 100.0], dtype=torch.float64)
    near, far = posterior_variance(solution.factor, kernel_of(queries, x), torch.ones(2, dtype=torch.float64), 2.0)
    assert near == pytest.approx(0, abs=1e-8)
    assert far == pytest.approx(2.0)


def test_coinciding_rows_are_named(case: tuple[torch.Tensor, ...]) -> None:
    x, y = case[0].clone(), case[1]
    x[7] = x[2]
    message = r"penalty of 0: molecule 2 and molecule 7 coincide .*Leave one of them out"
    with pytest.raises(CoincidingRowsError, match=message) as caught:
        solve(kernel_of(x, x), y, torch.zeros(N, dtype=torch.float64), "molecule {}".format)
    assert caught.value.rows == (2, 7)
    assert math.isfinite(solve(kernel_of(x, x), y, case[2]).log_likelihood)
