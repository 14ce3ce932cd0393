"""The local kernel against its definition and automatic differentiation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ase_mlwave.models.amons.regression.kernel import (
    kernel_diagonal,
    kernel_matrix,
    largest_distances,
    rule_widths,
    squared_distances,
)
from tests.models.amons.regression.gaussians import Gaussians, Geometry, described, random_geometry

WIDTHS = {1: 1.3, 6: 0.9, 7: 1.1, 8: 1.0}
FORMULAS = ("CHONH", "HOH", "CHHHH", "CNH", "OCHHO", "HH")


def molecules(n_directions: int = 0, first_seed: int = 0) -> list[Geometry]:
    return [random_geometry(first_seed + n, formula, n_directions) for n, formula in enumerate(FORMULAS)]


def naive(one: Geometry, r_one: Tensor, other: Geometry, r_other: Tensor) -> Tensor:
    """Sum over pairs of atoms of the same element, straight from the definition."""
    representation = Gaussians()
    x, y = (representation.environments(torch.tensor(g.numbers), r) for g, r in ((one, r_one), (other, r_other)))
    total = torch.zeros((), dtype=torch.float64)
    for i, z in enumerate(one.numbers.tolist()):
        for j, w in enumerate(other.numbers.tolist()):
            if z == w:
                total = total + torch.exp(-((x[i] - y[j]) ** 2).sum() / (2 * WIDTHS[z] ** 2))
    return total


def definition(one: Geometry, other: Geometry) -> float:
    return naive(one, torch.tensor(one.positions), other, torch.tensor(other.positions)).item()


def test_kernel_is_the_sum_over_pairs_of_the_same_element() -> None:
    left, right = molecules(), molecules(first_seed=50)
    kernel = kernel_matrix(described(left), described(right), WIDTHS)
    expected = torch.tensor([[definition(a, b) for b in right] for a in left], dtype=torch.float64)
    torch.testing.assert_close(kernel, expected, rtol=1e-12, atol=1e-12)


def test_slopes_of_the_kernel_are_its_derivatives() -> None:
    left, right = molecules(2), molecules(3, first_seed=50)
    kernel = kernel_matrix(described(left), described(right), WIDTHS)
    n, m = len(left), len(right)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            t = torch.zeros(2, dtype=torch.float64, requires_grad=True)
            u = torch.zeros(3, dtype=torch.float64, requires_grad=True)
            moved_a = torch.tensor(a.positions) + torch.einsum("r,rnx->nx", t, torch.from_numpy(a.directions))
            moved_b = torch.tensor(b.positions) + torch.einsum("r,rnx->nx", u, torch.from_numpy(b.directions))
            value = naive(a, moved_a, b, moved_b)
            by_t, by_u = torch.autograd.grad(value, (t, u), create_graph=True, materialize_grads=True)
            rows, columns = slice(n + 2 * i, n + 2 * i + 2), slice(m + 3 * j, m + 3 * j + 3)
            torch.testing.assert_close(kernel[rows, j], by_t.detach(), rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(kernel[i, columns], by_u.detach(), rtol=1e-10, atol=1e-12)
            if not by_t.requires_grad:  # nothing in common
                assert (kernel[rows, columns] == 0).all()
                continue
            for r in range(2):
                mixed = torch.autograd.grad(by_t[r], u, retain_graph=True)[0]
                torch.testing.assert_close(kernel[rows, columns][r], mixed, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_directions", [0, 2])
def test_kernel_of_a_set_with_itself_is_symmetric_and_positive(n_directions: int) -> None:
    environments = described(molecules(n_directions))
    again = described(molecules(n_directions))
    kernel = kernel_matrix(environments, environments, WIDTHS)
    torch.testing.assert_close(kernel, kernel_matrix(environments, again, WIDTHS), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kernel, kernel.T, rtol=0, atol=1e-13)
    assert torch.linalg.eigvalsh(kernel)[0] > -1e-12


@pytest.mark.parametrize("block", [1, 30, 400])
def test_size_of_the_blocks_does_not_matter(block: int) -> None:
    left, right = described(molecules(2)), described(molecules(1, first_seed=50))
    for other in (left, right):
        torch.testing.assert_close(
            kernel_matrix(left, other, WIDTHS, block=block), kernel_matrix(left, other, WIDTHS), rtol=1e-13, atol=1e-13
        )


def test_molecules_without_a_common_element_have_nothing_in_common() -> None:
    one, other = described([random_geometry(0, "HH")]), described([random_geometry(1, "CO")])
    assert kernel_matrix(one, other, WIDTHS).item() == 0


def test_features_that_the_other_set_lacks_count_in_the_distance() -> None:
    plain, rich = random_geometry(0, "CHH"), random_geometry(1, "CHN")  # no nitrogen in the columns of the first
    kernel = kernel_matrix(described([plain]), described([rich]), WIDTHS)
    assert kernel.item() == pytest.approx(definition(plain, rich), rel=1e-13)


def test_widths_make_the_farthest_pair_half_alike() -> None:
    geometries = molecules()
    environments = described(geometries)
    widths = rule_widths(largest_distances(environments, block=20))
    rows = [
        (z, x)
        for g in geometries
        for z, x in zip(g.numbers.tolist(), Gaussians().environments_of(Gaussians().collate([g])), strict=True)
    ]
    for z, width in widths.items():
        same = torch.stack([x for w, x in rows if w == z])
        largest = torch.cdist(same, same, compute_mode="donot_use_mm_for_euclid_dist").max().item()
        if len(same) > 1:
            assert math.exp(-(largest**2) / (2 * width**2)) == pytest.approx(0.5, rel=1e-6)


def test_widths_see_the_query() -> None:
    training, query = described(molecules()[:2]), described(molecules()[4:])
    alone, together = largest_distances(training), largest_distances(training, query)
    assert alone.keys() == together.keys()
    assert together[1] >= alone[1]
    assert together[6] > alone[6]


def test_one_environment_has_some_width() -> None:
    environments = described([random_geometry(0, "CO")])
    assert rule_widths(largest_distances(environments), scale=2.0) == {6: 2.0, 8: 2.0}


def test_rounding_between_equal_environments_is_no_distance() -> None:
    """Distances come from differences of squares; what is left of equal ones depends on the processor."""
    geometry = random_geometry(0, "CO")
    turns = Rotation.random(20, rng=np.random.default_rng(0)).as_matrix()
    turned = [Geometry(geometry.numbers, geometry.positions @ turn.T) for turn in turns]
    environments = described(turned)
    squares = squared_distances(environments.blocks[6], environments.blocks[6])
    assert 0 < squares.max() < 1e-12
    assert largest_distances(environments) == {6: 0.0, 8: 0.0}


@pytest.mark.parametrize("n_directions", [0, 4])
def test_diagonal_is_that_of_the_matrix(n_directions: int) -> None:
    rows = described(molecules(n_directions))
    expected = kernel_matrix(rows, rows, WIDTHS).diagonal()
    torch.testing.assert_close(kernel_diagonal(rows, WIDTHS), expected, rtol=1e-12, atol=1e-12)
