"""Atomic orbitals on the points, and molecular orbitals as their linear combination: one linear graph convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ase_mlwave.models.qdf.config import QDFConfig
from ase_mlwave.models.qdf.exponentials import LOG2_E, powers

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

    def mixing(self) -> Tensor:
        """Give the coefficients c of psi_n = sum_m basis_m c_mn, (M, d), in the order of `basis`."""
        c: Tensor = self.coefficients * self.present[..., None].to(self.coefficients.dtype)
        return c.flatten(0, 1)

    def table(self) -> Tensor:
        """Tabulate log2 of the orbital types, but for their coefficients, for `powers`: (n_elements, T, 6)."""
        zeta = self.exponents()
        half_power = self.half_power.to(zeta.dtype)
        moment = 2 * half_power + 1.5  # q + 1/2
        log_norm = 0.5 * (moment * torch.log(2 * zeta) - math.log(2 * math.pi) - torch.lgamma(moment))
        zero, one = torch.zeros_like(zeta), torch.ones_like(zeta)
        return torch.stack([log_norm * LOG2_E, -zeta * LOG2_E, half_power, zero, one, zero], 2)

    def basis(self, terms: Tensor, element: Tensor) -> Tensor:
        """Sum the atomic orbitals of every type of every element.

        Parameters
        ----------
        terms : Tensor, (K, 6, G)
            Of the distances from K atoms to each of G points, see `log_terms`.
        element : Tensor, (K,)
            Element index of the atoms: a row has atoms of one element.

        Returns
        -------
        Tensor, (M, G)
            By elements, then types, Bohr^-3/2.

        Notes
        -----
        Atoms of an element share their coefficients, so M numbers at a point hold all that any psi_n can be made of.
        """
        return self._sum(powers(self.table()[element], terms), element)

    def basis_and_gradients(
        self, terms: Tensor, slopes: Tensor, away: Tensor, element: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum the atomic orbitals of every type of every element, and their gradients.

        Parameters
        ----------
        terms, element : Tensor
            As for `basis`.
        slopes : Tensor, (K, 6, G)
            Of the terms, see `log_slopes`.
        away : Tensor, (K, 3, G)
            From the atoms to the points, Bohr.

        Returns
        -------
        basis : Tensor, (M, G)
            As from `basis`.
        gradients : Tensor, (M, 3, G)
            Bohr^-5/2.
        """
        table = self.table()[element]
        phi = powers(table, terms)
        steep = 2 * phi * torch.bmm(table, slopes)  # grad phi = 2 (r - R) dphi/dr^2
        parts = [self._sum(steep * away[:, axis, None], element) for axis in range(3)]
        return self._sum(phi, element), torch.stack(parts, 1)

    def _sum(self, values: Tensor, element: Tensor) -> Tensor:
        """Sum values (K, T, G) by elements, (M, G)."""
        return values.new_zeros(len(self.half_power), *values.shape[1:]).index_add(0, element, values).flatten(0, 1)
