"""The fitted energy and its derivative, against the kernel and automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.models.amons.regression.expansion import Expansion, expand
from ase_mlwave.models.amons.regression.kernel import kernel_matrix
from tests.models.amons.regression.gaussians import Gaussians, described, random_geometry
from tests.models.amons.regression.test_kernel import WIDTHS, molecules


@pytest.mark.parametrize("n_directions", [0, 3])
@pytest.mark.parametrize("block", [3, 10**6])
def test_expansion_is_the_kernel_times_coefficients(n_directions: int, block: int) -> None:
    training = described(molecules(n_directions))
    query = random_geometry(99, "CCHOHNH", 4)
    coefficients = torch.linspace(-1, 1, training.n_rows, dtype=torch.float64)
    expected = kernel_matrix(described([query]), training, WIDTHS) @ coefficients
    batch = Gaussians().collate([query])
    x = Gaussians().environments_of(batch)
    energy = torch.zeros((), dtype=torch.float64)
    slopes = torch.zeros_like(x)
    for z, expansion in expand(training, coefficients, WIDTHS).items():
        chosen = torch.from_numpy(query.numbers == z)
        terms = expansion(x[chosen], block=block)
        energy += terms.energies.sum()
        slopes[chosen] = terms.slopes
    gradient, _ = Gaussians().pullback(batch, slopes)
    along = torch.einsum("rnx,nx->r", torch.from_numpy(query.directions), gradient)
    assert energy.item() == pytest.approx(expected[0].item(), rel=1e-12)
    torch.testing.assert_close(along, expected[1:], rtol=1e-10, atol=0)


def test_nearest_environment_of_a_training_molecule_is_its_own() -> None:
    geometries = molecules()
    expansions = expand(described(geometries), torch.ones(len(geometries), dtype=torch.float64), WIDTHS)
    x = Gaussians().environments_of(Gaussians().collate([geometries[0]]))
    for i, z in enumerate(geometries[0].numbers.tolist()):
        assert expansions[z](x[i : i + 1]).nearest.item() == pytest.approx(0, abs=1e-6)
        moved = expansions[z](x[i : i + 1] + 0.1, slopes=False)
        assert moved.nearest.item() > 0.1
        assert not len(moved.slopes)


def test_energies_have_all_digits() -> None:
    """Weights of 1e5 Hartree that cancel, as those of fitted models do, and environments that are much alike."""
    rng = np.random.default_rng(0)
    values, x, width = rng.normal(scale=0.03, size=(400, 6)), rng.normal(scale=0.03, size=(5, 6)), 10.0
    weights = rng.normal(scale=1e5, size=400)
    weights -= weights.mean()
    columns, vectors = torch.arange(6), torch.zeros(0, 6, dtype=torch.float64)
    tensors = [torch.from_numpy(one) for one in (values, np.square(values).sum(axis=1), weights)]
    expansion = Expansion(columns, *tensors, vectors, torch.tensor(width, dtype=torch.float64))
    away = values.astype(np.longdouble) - x[:, None]
    kernel = np.exp(-np.square(away).sum(axis=2) / (2 * width**2)) * weights
    terms = expansion(torch.from_numpy(x))
    plain = np.exp(-np.square(away.astype(float)).sum(axis=2) / (2 * width**2)) @ weights
    assert np.abs(plain - kernel.sum(axis=1)).max() > 1e-10
    np.testing.assert_allclose(terms.energies, kernel.sum(axis=1).astype(float), rtol=0, atol=1e-12)
    slopes = (kernel[:, :, None] * away).sum(axis=1) / width**2
    np.testing.assert_allclose(terms.slopes, slopes.astype(float), rtol=1e-13)


def test_constants_move_with_an_expansion() -> None:
    training = described(molecules(3))
    coefficients = torch.linspace(-1, 1, training.n_rows, dtype=torch.float64)
    expansion = expand(training, coefficients, WIDTHS)[6]
    x = torch.ones(2, 32, dtype=torch.float64)
    assert expansion(x).energies.isfinite().all()
    assert expansion.map(lambda one: one.to("meta"))(x.to("meta")).slopes.shape == (2, 32)


def test_an_expansion_among_fewer_features_gives_the_same() -> None:
    training = described(molecules(3))
    coefficients = torch.linspace(-1, 1, training.n_rows, dtype=torch.float64)
    features = torch.arange(4, 29)
    x = torch.rand(3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, :4] = x[:, 29:] = 0
    for expansion in expand(training, coefficients, WIDTHS).values():
        whole, part = expansion(x), expansion.among(features)(x[:, features])
        torch.testing.assert_close(part.energies, whole.energies, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(part.slopes, whole.slopes[:, features], rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(part.nearest, whole.nearest, rtol=1e-11, atol=0)
