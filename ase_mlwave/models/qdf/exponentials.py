"""Every function of a distance that the field has, as a power of two of a few terms.

Atomic orbitals and the cells' p_A are products of a Gaussian, of powers of r^2 plus a constant and of the envelope, so
their logarithms are linear combinations of the same terms: one small matrix product and one exponential give all of
them, and their derivatives likewise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["LOG2_E", "N_TERMS", "PEAK_WIDTH", "log_envelope", "log_slopes", "log_terms", "powers"]

#: Powers of two are faster than those of e.
LOG2_E = math.log2(math.e)
#: Width b of the peak of p_A, Bohr^2.
PEAK_WIDTH = 0.08
#: 1, r^2, log2(r^2 + a^2), log2(r^2 + b), log2 of the envelope, and what belongs to the point: the columns of a table.
N_TERMS = 6
#: Least value of 1 - r^2/c^2: its cube is nothing beside any number, and the square of its inverse fits into float32.
_NOTHING = 1e-18
#: The same where it is divided by: the inverse's third power, of the derivatives of forces, fits into float32.
_NEARLY_NOTHING = 1e-10


def log_terms(r2: Tensor, point: Tensor, softening: float, cutoff: float) -> Tensor:
    """Evaluate the terms; see `N_TERMS`.

    Parameters
    ----------
    r2 : Tensor, (K, G)
        Squared distances from K atoms to G points, Bohr^2.
    point : Tensor, (G,)
        The last term.
    softening, cutoff : float
        a and c, Bohr.

    Returns
    -------
    Tensor, (K, 6, G)
    """
    peak, soft = torch.log2(r2 + PEAK_WIDTH), torch.log2(r2 + softening**2)
    return torch.stack([torch.ones_like(r2), r2, soft, peak, log_envelope(r2, cutoff), point.expand_as(r2)], 1)


def log_slopes(r2: Tensor, softening: float, cutoff: float) -> Tensor:
    """Differentiate `log_terms` with respect to the squared distances, and multiply by ln 2: (K, 6, G), Bohr^-2.

    Notes
    -----
    The derivative of a power of two is itself times its row of the table times these (``test_slopes_of_the_terms``).
    """
    inside = (1 - r2 / cutoff**2).clamp(min=_NEARLY_NOTHING)
    columns = (1 / (r2 + softening**2), 1 / (r2 + PEAK_WIDTH), -3 / (cutoff**2 * inside))
    zero = torch.zeros_like(r2)
    return torch.stack([zero, torch.full_like(r2, math.log(2)), *columns, zero], 1)


def log_envelope(r2: Tensor, cutoff: float) -> Tensor:
    """Evaluate log2 of (1 - r^2/c^2)^3; beyond the cutoff c it is so low that nothing is left."""
    return 3 * torch.log2((1 - r2 / cutoff**2).clamp(min=_NOTHING))


def powers(table: Tensor, terms: Tensor) -> Tensor:
    """Evaluate 2^(table terms): (K, T, 6), (K, 6, G) -> (K, T, G)."""
    return torch.exp2(torch.bmm(table, terms))
