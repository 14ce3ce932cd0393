"""The regression in a basis: its limit is the full one, and its sums are those of all rows."""

from __future__ import annotations

import pytest
import torch

from ase_mlwave.models.amons.regression.basis import basis_factor, choose_basis
from ase_mlwave.models.amons.regression.environments import Environments, environment_rows
from ase_mlwave.models.amons.regression.expansion import expand
from ase_mlwave.models.amons.regression.kernel import kernel_matrix
from ase_mlwave.models.amons.regression.solver import Solution, posterior_variance, solve
from ase_mlwave.models.amons.regression.sparse import solve_sparse, sparse_variance, sum_rows
from tests.models.amons.regression.gaussians import Gaussians, described, random_geometry
from tests.models.amons.regression.test_kernel import WIDTHS, molecules

PENALTY, FORCE_PENALTY = 1e-3, 1e-2


def targets(n: int) -> torch.Tensor:
    return torch.linspace(-1, 1, n, dtype=torch.float64).sin()


def fitted(n_directions: int, size: int = 1000) -> tuple[Environments, Solution]:
    geometries = molecules(n_directions)
    basis = choose_basis(described(molecules()), WIDTHS, size)
    y = targets(len(geometries) * (1 + n_directions))
    rows = environment_rows(Gaussians(), geometries, [one.directions for one in geometries])
    sums = sum_rows(rows, basis, WIDTHS, y[: len(geometries)], y[len(geometries) :])
    return basis, solve_sparse(basis, WIDTHS, sums, PENALTY, FORCE_PENALTY)


def test_complete_basis_is_the_full_regression() -> None:
    basis, sparse = fitted(0)
    training = described(molecules())
    full = solve(kernel_matrix(training, training, WIDTHS), targets(training.n_rows), _penalties(training))
    query = described([random_geometry(99, "CCHOHNH")])
    across, own = kernel_matrix(query, training, WIDTHS), kernel_matrix(query, query, WIDTHS).diagonal()
    to_basis = kernel_matrix(query, basis, WIDTHS)
    torch.testing.assert_close(to_basis @ sparse.coefficients, across @ full.coefficients, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(sparse.residuals, full.residuals, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(sparse.variances, full.variances, rtol=1e-5, atol=0)
    assert sparse.log_likelihood == pytest.approx(full.log_likelihood, rel=1e-6)
    prior = basis_factor(basis, WIDTHS)
    found = sparse_variance(prior, sparse.factor, to_basis, own, sparse.amplitude)
    torch.testing.assert_close(
        found, posterior_variance(full.factor, across, own, full.amplitude), rtol=1e-4, atol=1e-9
    )


def _penalties(training: Environments) -> torch.Tensor:
    energies = torch.full((training.n_molecules,), PENALTY, dtype=torch.float64)
    return torch.cat([energies, torch.full((training.n_directions,), FORCE_PENALTY, dtype=torch.float64)])


def test_sums_over_molecules_are_the_least_squares_of_all_rows() -> None:
    basis, sparse = fitted(4, size=3)
    training = described(molecules(4))
    rows = kernel_matrix(training, basis, WIDTHS)
    inverse = _penalties(training).reciprocal()
    prior = basis_factor(basis, WIDTHS)
    matrix = prior @ prior.T + rows.T @ (inverse[:, None] * rows)
    expected = torch.linalg.solve(matrix, rows.T @ (inverse * targets(training.n_rows)))
    torch.testing.assert_close(sparse.coefficients, expected, rtol=1e-6, atol=1e-9)


def test_basis_explains_all_environments() -> None:
    everything = described(molecules())
    basis = choose_basis(everything, WIDTHS, 1000)
    for z, block in everything.blocks.items():
        chosen = basis.blocks[z]
        kernel = torch.exp(-0.5 * torch.cdist(block.values, chosen.values) ** 2 / WIDTHS[z] ** 2)
        own = torch.exp(-0.5 * torch.cdist(chosen.values, chosen.values) ** 2 / WIDTHS[z] ** 2)
        own.diagonal().add_(1e-10)
        explained = torch.linalg.solve_triangular(torch.linalg.cholesky(own), kernel.T, upper=False).square().sum(0)
        assert float((1 - explained).max()) < 1e-5
    few = choose_basis(everything, WIDTHS, 2)
    assert all(len(block.values) <= 2 for block in few.blocks.values())
    assert few.n_molecules == sum(len(block.values) for block in few.blocks.values())


def test_expansion_in_a_basis_is_its_kernel_times_coefficients() -> None:
    basis, sparse = fitted(2)
    query = random_geometry(99, "CCHOHNH")
    expected = kernel_matrix(described([query]), basis, WIDTHS) @ sparse.coefficients
    x = Gaussians().environments_of(Gaussians().collate([query]))
    parts = expand(basis, sparse.coefficients, WIDTHS)
    energies = [part(x[torch.from_numpy(query.numbers == z)]).energies.sum() for z, part in parts.items()]
    assert sum(energies).item() == pytest.approx(expected.item(), rel=1e-8)
