"""Maximum likelihood finds what made the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.models.amons.regression.hyperparameters import Hyperparameters, most_likely
from ase_mlwave.models.amons.regression.kernel import kernel_matrix, largest_distances
from ase_mlwave.models.amons.regression.solver import solve
from tests.models.amons.regression.gaussians import described, random_geometry


def test_most_likely_are_more_likely_than_the_truth() -> None:
    training = described([random_geometry(n, "CHONH", 2) for n in range(24)])
    distances = largest_distances(training)
    truth = Hyperparameters(penalty=3e-2, force_penalty=3e-2, scale=2.0)
    kernel = kernel_matrix(training, training, truth.widths(distances))
    kernel.diagonal().add_(truth.penalties(training))
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=training.n_rows))
    targets = torch.linalg.cholesky(kernel) @ noise
    seen: list[float] = []
    found = most_likely(training, targets, distances, max_evaluations=30, progress=seen.append)
    again = kernel_matrix(training, training, found.widths(distances))
    likelihood = solve(again, targets, found.penalties(training)).log_likelihood
    assert likelihood == pytest.approx(max(seen), abs=1e-6)
    kernel.diagonal().sub_(truth.penalties(training))
    assert likelihood > solve(kernel, targets, truth.penalties(training)).log_likelihood
    assert likelihood > seen[0]


def test_energies_alone_can_be_made_more_likely() -> None:
    training = described([random_geometry(n, "CHO") for n in range(10)])
    seen: list[float] = []
    targets = torch.linspace(-1, 1, training.n_rows, dtype=torch.float64)
    most_likely(training, targets, largest_distances(training), max_evaluations=12, progress=seen.append)
    assert max(seen) > seen[0]


def test_penalties_follow_the_rows() -> None:
    training = described([random_geometry(0, n_directions=2), random_geometry(1)])
    penalties = Hyperparameters(penalty=1.0, force_penalty=2.0).penalties(training)
    assert penalties.tolist() == [1.0, 1.0, 2.0, 2.0]
