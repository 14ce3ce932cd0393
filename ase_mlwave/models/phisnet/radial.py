"""Radial functions: exponential Bernstein polynomials and the smooth cutoff."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BernsteinBasis", "smooth_cutoff", "switch_off"]

#: Width of `switch_off`, Bohr.
_SWITCH = 3.0


def smooth_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """Switch pair interactions off, infinitely smooth at the cutoff.

    Parameters
    ----------
    r : Tensor, (E,)
        Pair distances, Bohr.
    cutoff : float
        Distance from which on the result is zero, Bohr.

    Returns
    -------
    Tensor, (E,)
        ``exp(-r^2 / ((cutoff - r)(cutoff + r)))`` inside, 0 outside.

    Notes
    -----
    Source: Unke et al. 2021, supplement, radial functions. Law: ``test_cutoff_is_smooth``.
    """
    return torch.exp(_log_cutoff(r, cutoff))


def _log_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """Give the logarithm of the cutoff function, finite everywhere; its exponential is exactly 0 from the cutoff on."""
    squared = r.clamp(max=(1 - 1e-6) * cutoff).square()
    return squared / (squared - cutoff**2)


def switch_off(r: Tensor, cutoff: float, width: float = _SWITCH) -> Tensor:
    """Fall from 1 to 0 within the last stretch before a cutoff, with two continuous derivatives.

    Parameters
    ----------
    r : Tensor, (E,)
        Pair distances, Bohr.
    cutoff : float
        Distance from which on the result is zero, Bohr.
    width : float
        Length of that stretch, Bohr.

    Returns
    -------
    Tensor, (E,)
        1 - x^3 (10 - 15 x + 6 x^2) with x = (r - cutoff) / width + 1, between 0 and 1.
    """
    x = ((r - cutoff) / width + 1).clamp(0, 1)
    return 1 - x**3 * (10 - 15 * x + 6 * x.square())


class BernsteinBasis(nn.Module):
    """Expand pair distances in exponential Bernstein polynomials, with a learned decay.

    Parameters
    ----------
    n_radial : int
        Number of functions K.
    cutoff : float
        Distance beyond which all vanish, Bohr.
    alpha : float
        Initial decay, 1/Bohr; learned, and kept positive.

    Notes
    -----
    b_k(r) = binomial(K-1, k) x^k (1-x)^(K-1-k) f(r) with x = exp(-alpha r) and f the smooth cutoff; evaluated through
    logarithms. They sum to f(r). Source: Unke et al. 2021, supplement. Law: ``test_bernstein_basis_sums_to_cutoff``.
    """

    def __init__(self, n_radial: int, cutoff: float, alpha: float = 0.5) -> None:
        super().__init__()
        self.cutoff = cutoff
        n = torch.tensor(float(n_radial - 1), dtype=torch.float64)
        k = torch.arange(n_radial, dtype=torch.float64)
        log_binomial = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        powers = torch.stack([k, n - k, torch.ones_like(k)])
        self.register_buffer("powers", powers, persistent=False)
        self.register_buffer("log_binomial", log_binomial, persistent=False)
        self.raw_alpha = nn.Parameter(torch.tensor(alpha).expm1().log())

    def forward(self, r: Tensor, cutoff: float | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate the functions.

        Parameters
        ----------
        r : Tensor, (E,)
            Bohr.
        cutoff : float, optional
            Where they vanish instead of at the basis' own cutoff, Bohr.

        Returns
        -------
        tuple of Tensor, (E, K) and (E,)
            The radial functions and the cutoff function.
        """
        powers: Tensor = self.powers  # type: ignore[assignment]
        log_binomial: Tensor = self.log_binomial  # type: ignore[assignment]
        log_x = -nn.functional.softplus(self.raw_alpha) * r
        log_rest = torch.log(-torch.expm1(log_x))
        log_cut = _log_cutoff(r, self.cutoff if cutoff is None else cutoff)
        logarithms = torch.stack([log_x, log_rest, log_cut], dim=1)
        return torch.exp(torch.addmm(log_binomial.to(r.dtype), logarithms, powers.to(r.dtype))), torch.exp(log_cut)
