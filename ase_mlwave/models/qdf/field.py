"""What the network knows on the points of a block of atoms, and integrals of it over their cells."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["FieldValues", "ScaledField", "Surroundings", "count_electrons"]


@dataclass(frozen=True)
class Surroundings:
    """What the field on the points of a block depends on, but for the vectors from its C centres to their neighbours.

    Parameters
    ----------
    own, element : Tensor, (C,) and (K,)
        Element index of the centres, and of the atoms in each column of neighbours.
    charges : Tensor, (C, K)
        Nuclear charges of neighbours; 0 for padding.
    offsets : Tensor, (C, P, 3)
        Points, from the centre, Bohr.
    weights : Tensor, (C, P)
        Bohr^3.
    """

    own: Tensor
    element: Tensor
    charges: Tensor
    offsets: Tensor
    weights: Tensor


@dataclass(frozen=True)
class FieldValues:
    """The field on the points of a block, before normalisation.

    Parameters
    ----------
    basis : Tensor, (M, C, P)
        What the molecular orbitals are made of, see `AtomicOrbitals.basis`.
    squared : Tensor, (C, P)
        sum_n psi_n^2.
    ratios : Tensor, (K, C, P)
        w_B of every neighbour relative to the centre's own.
    own : Tensor, (C, P)
        The centre's own w_A.
    r2 : Tensor, (K, C, P)
        Squared distances, Bohr^2.
    invariants : Tensor or None, (R, C, P)
        Of the gradients, see `GradientInvariants`; None in a local functional.
    """

    basis: Tensor
    squared: Tensor
    ratios: Tensor
    own: Tensor
    r2: Tensor
    invariants: Tensor | None


@dataclass(frozen=True)
class ScaledField:
    """The field on the points of a block, with the right number of electrons.

    Parameters
    ----------
    basis : Tensor, (M, C, P)
        What the molecular orbitals are made of.
    rho : Tensor, (C, P)
        Density.
    cell_weights : Tensor, (C, P)
        W_p w_A.
    measure : Tensor, (C, P)
        W_p w_A g(rho), in Hartree: weights of the energy functional.
    invariants : Tensor or None, (R, C, P)
        Of the gradients, see `GradientInvariants`; None in a local functional.
    """

    basis: Tensor
    rho: Tensor
    cell_weights: Tensor
    measure: Tensor
    invariants: Tensor | None


def count_electrons(values: FieldValues, weights: Tensor) -> Tensor:
    """Integrate sum_n psi_n^2 over cells, (C,), float64."""
    return (weights * values.own * values.squared).sum(1).double()
