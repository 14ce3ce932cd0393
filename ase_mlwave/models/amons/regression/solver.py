"""Solve (K + lambda) a = y by Cholesky factorisation, and know what the solution does not know.

A kernel with a penalty is a Gaussian process: the penalty is the variance of the noise and the kernel that of the
energies, both in units of an amplitude. Its posterior variance at a query with the kernel row k is

    var = amplitude * (k(q, q) - k (K + lambda)^-1 k^T),

and leaving out one training row costs nothing but the diagonal of the inverse: residual a_i / [(K + lambda)^-1]_ii,
variance amplitude / [(K + lambda)^-1]_ii. The amplitude is chosen such that these residuals have the variance that is
claimed for them, those of energies as well as those of all rows. Rows of slopes are many and foretell each other within
a molecule; left to them, the amplitude claims too little of the energies (``python -m benchmarks.amons_calibration``).
Energies of atoms that were fitted to the same energies count as degrees of freedom that these have no more.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.2, 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CoincidingRowsError", "Solution", "log_likelihood", "posterior_variance", "solve"]


#: Amplitude where so few energies were fitted that none is left to tell, Hartree^2: that of most molecules' amons.
_USUAL = 0.03**2


class CoincidingRowsError(ValueError):
    """The kernel's matrix is not positive definite, because training rows coincide."""

    def __init__(self, first: int, second: int, message: str) -> None:
        super().__init__(message)
        self.rows = (first, second)


@dataclass(frozen=True)
class Solution:
    """Hold the solved equations, of all rows (`solve`) or in a basis (`ase_mlwave.models.amons.regression.sparse`).

    Parameters
    ----------
    coefficients : Tensor, (R,)
        a of every row, or w of every environment of the basis.
    factor : Tensor, (R, R)
        Lower Cholesky factor L of K + lambda = L L^T, or of what stands for it in a basis.
    amplitude : float
        Variance that one unit of the kernel stands for, Hartree^2.
    log_likelihood : float
        Of the targets, with the amplitude that maximises it.
    residuals, variances : Tensor, (R,)
        Of every row, or energy, when it is predicted from all others.
    """

    coefficients: Tensor
    factor: Tensor
    amplitude: float
    log_likelihood: float
    residuals: Tensor
    variances: Tensor


def solve(
    kernel: Tensor,
    targets: Tensor,
    penalties: Tensor,
    name: Callable[[int], str] = "row {}".format,
    *,
    n_energies: int | None = None,
    n_fitted: int = 0,
) -> Solution:
    """Solve the equations of kernel ridge regression.

    Parameters
    ----------
    kernel : Tensor, (R, R)
        Between training rows; not changed.
    targets : Tensor, (R,)
        y, Hartree and Hartree/Bohr.
    penalties : Tensor, (R,)
        lambda of every row, not negative.
    name : callable
        Names a row in messages.
    n_energies : int, optional
        How many of the rows, the first ones, are energies; by default all.
    n_fitted : int
        How many numbers were fitted to these energies before.

    Returns
    -------
    Solution

    Raises
    ------
    CoincidingRowsError
        If the matrix is not positive definite; the message names the two rows that are most alike.

    Notes
    -----
    The residuals and variances are those of really leaving out each row (``test_left_out_rows``). The amplitude is the
    larger one of those that the energies and that all rows ask for
    (``test_slopes_that_are_easy_do_not_make_energies_certain``).
    """
    matrix = kernel.clone()
    matrix.diagonal().add_(penalties)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    # Of two equal rows rounding leaves a pivot just above zero or just below, as the processor has it.
    rounding = torch.finfo(matrix.dtype).eps * matrix.diagonal()
    if int(failed) or bool((factor.diagonal() ** 2 < rounding).any()):
        raise _coinciding(kernel, penalties, name)
    coefficients = torch.cholesky_solve(targets[:, None], factor)[:, 0]
    n_rows = len(targets)
    determinant = 2 * float(factor.diagonal().log().sum())
    likelihood = log_likelihood(float(targets @ coefficients), determinant, n_rows)
    inverse = torch.cholesky_inverse(factor).diagonal()
    residuals = coefficients / inverse
    amplitude = _amplitude(residuals**2 * inverse, n_rows if n_energies is None else n_energies, n_fitted)
    return Solution(coefficients, factor, amplitude, likelihood, residuals, amplitude / inverse)


def log_likelihood(quadratic: float, determinant: float, n_rows: int) -> float:
    """Return the log likelihood of n targets y with the amplitude that maximises it.

    Parameters
    ----------
    quadratic : float
        y (K + lambda)^-1 y.
    determinant : float
        Logarithm of that of K + lambda.
    n_rows : int
        n.
    """
    amplitude = max(quadratic, 1e-300) / n_rows
    return -0.5 * (n_rows * (math.log(2 * math.pi * amplitude) + 1) + determinant)


def _amplitude(ratios: Tensor, n_energies: int, n_fitted: int) -> float:
    """Choose the amplitude by what every left-out row asks for: squared residual over variance."""
    freedom = n_energies - n_fitted
    of_energies = float(ratios[:n_energies].sum()) / freedom if freedom > 0 else _USUAL
    return max(of_energies, float(ratios.mean()))


def posterior_variance(factor: Tensor, rows: Tensor, prior: Tensor, amplitude: float | Tensor) -> Tensor:
    """Compute the variance that training leaves.

    Parameters
    ----------
    factor : Tensor, (R, R)
        Lower Cholesky factor of K + lambda.
    rows : Tensor, (Q, R)
        Kernel between queries and training rows.
    prior : Tensor, (Q,)
        Kernel of each query with itself.
    amplitude : float or Tensor ()
        Hartree^2.

    Returns
    -------
    Tensor, (Q,)
        Not negative; Hartree^2, of derivatives Hartree^2/Bohr^2.
    """
    explained = torch.linalg.solve_triangular(factor, rows.T, upper=False).square().sum(dim=0)
    variance: Tensor = amplitude * (prior - explained).clamp(min=0)
    return variance


def _coinciding(kernel: Tensor, penalties: Tensor, name: Callable[[int], str]) -> CoincidingRowsError:
    """Find the two rows that are most alike."""
    scale = kernel.diagonal().clamp(min=1e-300).rsqrt()
    overlaps = (kernel * scale[:, None] * scale).abs()
    overlaps.fill_diagonal_(-1.0)
    first, second = divmod(int(overlaps.argmax()), len(overlaps))
    return CoincidingRowsError(
        first,
        second,
        f"the kernel's matrix is not positive definite with a penalty of {float(penalties.min()):g}: {name(first)} and "
        f"{name(second)} coincide (overlap {float(overlaps[first, second]):.12f}). Leave one of them out, or give a "
        "larger penalty.",
    )
