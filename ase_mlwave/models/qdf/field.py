"""What the network knows on the points of a block of atoms, and integrals of it over their cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FieldValues", "ScaledField", "count_electrons", "integrate"]


@dataclass(frozen=True)
class FieldValues:
    """The field on the points of a block, before normalisation.

    Parameters
    ----------
    psi : Tensor, (C, P, d)
        Molecular orbitals.
    squared : Tensor, (C, P)
        sum_n psi_n^2.
    shares : Tensor, (C, P, K)
        w_B of every neighbour; the first is the centre's own.
    r2 : Tensor, (C, P, K)
        Squared distances, Bohr^2.
    """

    psi: Tensor
    squared: Tensor
    shares: Tensor
    r2: Tensor


@dataclass(frozen=True)
class ScaledField:
    """The field on the points of a block, with the right number of electrons.

    Parameters
    ----------
    psi : Tensor, (C, P, d)
        Molecular orbitals.
    rho : Tensor, (C, P)
        Density.
    cell_weights : Tensor, (C, P)
        W_p w_A.
    measure : Tensor, (C, P)
        W_p w_A g(rho), in Hartree: weights of the energy functional.
    """

    psi: Tensor
    rho: Tensor
    cell_weights: Tensor
    measure: Tensor


def count_electrons(values: FieldValues, weights: Tensor) -> Tensor:
    """Integrate sum_n psi_n^2 over cells, (C,), float64."""
    return (weights * values.shares[..., 0] * values.squared).sum(1).double()


def integrate(field: ScaledField, features: Tensor) -> Tensor:
    """Integrate g(rho) times features (C, P, K) over cells, (C, K), float64."""
    return torch.matmul(field.measure[:, None], features)[:, 0].double()
