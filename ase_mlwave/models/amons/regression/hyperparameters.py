"""Widths and penalties: by the publication's rule, or where the training data are most likely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ase_mlwave.models.amons.regression.environments import Environments
from ase_mlwave.models.amons.regression.kernel import kernel_matrix, rule_widths
from ase_mlwave.models.amons.regression.solver import CoincidingRowsError, solve

__all__ = ["PENALTY", "Hyperparameters", "most_likely"]

#: The publication's penalty, in units of the kernel.
PENALTY = 1e-4

#: Bounds of what maximum likelihood chooses between.
_PENALTIES = (1e-10, 1.0)
_SCALES = (0.1, 30.0)
#: Where the search looks first; penalties are cheap, each scale costs a kernel.
_COARSE_SCALES = (1.0, 0.5, 2.0, 4.0, 8.0)
_COARSE_PENALTIES = (1e-8, 1e-6, 1e-2)


@dataclass(frozen=True)
class Hyperparameters:
    """Hold what is chosen before the equations are solved.

    Parameters
    ----------
    penalty : float
        lambda of energies, in units of the kernel.
    force_penalty : float
        lambda of slopes, in units of the kernel per Bohr^2.
    scale : float
        What the widths of `rule_widths` are multiplied by.
    """

    penalty: float = PENALTY
    force_penalty: float = PENALTY
    scale: float = 1.0

    def widths(self, distances: Mapping[int, float]) -> dict[int, float]:
        """Return the widths for the largest distances of the environments."""
        return rule_widths(distances, self.scale)

    def penalties(self, environments: Environments) -> Tensor:
        """Return lambda of every row, (R,)."""
        device = next(iter(environments.blocks.values())).values.device
        of_molecules = torch.full((environments.n_molecules,), self.penalty, dtype=torch.float64, device=device)
        of_directions = torch.full((environments.n_directions,), self.force_penalty, dtype=torch.float64, device=device)
        return torch.cat([of_molecules, of_directions])


def most_likely(
    training: Environments,
    targets: Tensor,
    distances: Mapping[int, float],
    *,
    start: Hyperparameters | None = None,
    max_evaluations: int = 40,
    progress: Callable[[float], None] | None = None,
) -> Hyperparameters:
    """Choose penalties and widths that make the training data most likely.

    Parameters
    ----------
    training : Environments
        R rows.
    targets : Tensor, (R,)
        Hartree, Hartree/Bohr.
    distances : mapping of int to float
        From `largest_distances`.
    start : Hyperparameters, optional
        Where the search begins; by default the publication's.
    max_evaluations : int
        Number of kernels that are computed at most, after a coarse search with five.
    progress : callable, optional
        Called with the log likelihood after every kernel.

    Returns
    -------
    Hyperparameters
        Never less likely than the start.

    Notes
    -----
    Searches over the logarithms of the scale, the penalty and, where there are slopes, their penalty: a coarse grid,
    then the simplex of Nelder and Mead, between 1e-10 and 1 and between a tenth and thirty times the rule's widths. The
    likelihood is that of the Gaussian process with the most likely amplitude
    (``test_most_likely_are_more_likely_than_the_truth``).
    """
    first = start or Hyperparameters()
    has_slopes = training.n_directions > 0
    best: tuple[float, Hyperparameters] = (-math.inf, first)

    def try_all(trials: Iterable[Hyperparameters]) -> float:
        """Compute the kernel of trials with one scale, and return the largest likelihood."""
        nonlocal best
        of_one_scale = list(trials)
        kernel = kernel_matrix(training, training, of_one_scale[0].widths(distances))
        likelihoods = [_likelihood(kernel, targets, trial.penalties(training)) for trial in of_one_scale]
        best = max([best, *zip(likelihoods, of_one_scale, strict=True)], key=lambda pair: pair[0])
        if progress is not None:
            progress(max(likelihoods))
        return max(likelihoods)

    force_penalties = (first.force_penalty, *_COARSE_PENALTIES) if has_slopes else (first.force_penalty,)
    for scale in dict.fromkeys(first.scale * factor for factor in _COARSE_SCALES):
        pairs = product((first.penalty, *_COARSE_PENALTIES), force_penalties)
        try_all(Hyperparameters(*pair, scale) for pair in pairs)

    def loss(point: NDArray[np.float64]) -> float:
        likelihood = try_all([_hyperparameters(point, first)])
        return -likelihood if math.isfinite(likelihood) else 1e300

    middle = best[1]
    values = [middle.scale, middle.penalty] + ([middle.force_penalty] if has_slopes else [])
    bounds = [_SCALES, _PENALTIES] + ([_PENALTIES] if has_slopes else [])
    origin = np.log(values)
    simplex = np.vstack([origin, origin + np.diag([0.4, 1.2, 1.2][: len(values)])])
    options = {"maxfev": max_evaluations, "initial_simplex": simplex, "xatol": 0.02, "fatol": 0.02}
    minimize(loss, origin, method="Nelder-Mead", bounds=[tuple(np.log(b)) for b in bounds], options=options)
    return best[1]


def _likelihood(kernel: Tensor, targets: Tensor, penalties: Tensor) -> float:
    try:
        return solve(kernel, targets, penalties).log_likelihood
    except CoincidingRowsError:
        return -math.inf


def _hyperparameters(point: NDArray[np.float64], start: Hyperparameters) -> Hyperparameters:
    scale, penalty, *rest = np.exp(point).tolist()
    return Hyperparameters(penalty, rest[0] if rest else start.force_penalty, scale)
