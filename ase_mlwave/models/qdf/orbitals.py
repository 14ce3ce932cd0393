"""Atomic orbitals on the points, and molecular orbitals as their linear combination: one linear graph convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ase_mlwave.models.qdf.config import QDFConfig

__all__ = ["AtomicOrbitals"]


class AtomicOrbitals(nn.Module):
    """Learned orbital types of all elements and their coefficients in the molecular orbitals.

    Parameters
    ----------
    config : QDFConfig
        Elements, orbital types and bounds of exponents.

    Notes
    -----
    phi_t(r) = norm_t (r^2 + a^2)^((q_t - 1)/2) exp(-zeta_t r^2) times an envelope that vanishes at the cutoff, and
    psi_n(r) = sum_j sum_t c_{t,n} phi_t(|r - R_j|) with t running over the types of atom j.
    Differs from the paper: r^(q-1) is softened by a length a, because its kink at the nucleus (q = 2) has no second
    derivative and no grid integrates it well; the norm is analytic (of r^(q-1) exp(-zeta r^2)), not a sum over points;
    zeta is bounded by what the grid resolves. Elements with fewer types than others are padded with zero coefficients.
    Source: Tsubaki and Mizoguchi, PRL 125, 206401 (2020).
    """

    half_power: Tensor
    present: Tensor

    def __init__(self, config: QDFConfig) -> None:
        super().__init__()
        types = [config.all_orbitals()[e] for e in config.elements]
        n_types = max(map(len, types))
        shape = (len(types), n_types)
        half_power, start, present = torch.zeros(shape), torch.ones(shape), torch.zeros(shape)
        for row, orbitals in enumerate(types):
            for column, (name, exponent) in enumerate(orbitals):
                half_power[row, column] = (int(name[0]) - 1) / 2
                start[row, column] = exponent
                present[row, column] = 1.0
        self.n_types = n_types
        self.low, self.high = config.exponents
        self.softening = config.softening
        share = (start.double() - self.low) / (self.high - self.low)
        self.raw_exponents = nn.Parameter(torch.logit(share.clamp(1e-4, 1 - 1e-4)))
        coefficients = torch.randn(*shape, config.dimension, dtype=torch.float64)
        self.coefficients = nn.Parameter(coefficients / math.sqrt(n_types))
        self.register_buffer("half_power", half_power.double(), persistent=False)
        self.register_buffer("present", present.double(), persistent=False)

    def exponents(self) -> Tensor:
        """Give zeta, (n_elements, T), Bohr^-2; padded types included."""
        return self.low + (self.high - self.low) * torch.sigmoid(self.raw_exponents)

    def forward(self, r2: Tensor, cut: Tensor, element: Tensor) -> Tensor:
        """Combine the orbitals of neighbours to molecular orbitals on points.

        Parameters
        ----------
        r2, cut : Tensor, (N, P, K)
            Squared distances from points to neighbours, Bohr^2, and their envelope (0 for padding).
        element : Tensor, (N, K)
            Element index of every neighbour.

        Returns
        -------
        Tensor, (N, P, d)
            psi_n, not normalised, Bohr^-3/2.
        """
        half_power, present = self.half_power.to(r2.dtype), self.present.to(r2.dtype)
        zeta = self.exponents()
        moment = 2 * half_power + 1.5  # q + 1/2
        log_norm = 0.5 * (moment * torch.log(2 * zeta) - math.log(2 * math.pi) - torch.lgamma(moment))
        log_r = torch.log(r2 + self.softening**2)

        def rows(table: Tensor) -> Tensor:
            return table[element][:, None]  # (N, 1, K, T)

        exponent = torch.addcmul(rows(log_norm), rows(zeta), r2[..., None], value=-1)
        exponent = torch.addcmul(exponent, rows(half_power), log_r[..., None])
        phi = torch.exp(exponent) * cut[..., None]  # (N, P, K, T)
        c = (self.coefficients * present[..., None])[element]  # (N, K, T, d)
        return torch.bmm(phi.flatten(2), c.flatten(1, 2))
