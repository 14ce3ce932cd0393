"""The fitted energy as a sum over training environments, and its derivative with respect to a query's environments.

All rows of the training set that hold an environment x_J add up to two things, a weight a_J (of energies) and a vector
p_J (of slopes along directions), so that an atom of a query has the energy

    f(x) = sum_J k(x, x_J) (a_J + g (x - x_J) . p_J),

whatever the number of directions. Its derivative is as cheap as itself:

    df/dx = g sum_J (w_J (x_J - x) + k p_J),   w_J = k (a_J + g (x - x_J) . p_J).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.models.amons.regression.environments import Environments

__all__ = ["AtomicTerms", "Expansion", "expand"]

#: Pairs of environments that are held at a time.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class AtomicTerms:
    """Hold what an expansion says of the atoms of one element.

    Parameters
    ----------
    energies : Tensor, (N,)
        Without the baseline, Hartree.
    slopes : Tensor, (N, D)
        Derivatives of the energies with respect to the environments, or an empty tensor.
    nearest : Tensor, (N,)
        Distances to the nearest training environments.
    """

    energies: Tensor
    slopes: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class Expansion:
    """Hold the training environments of one element with their weights.

    Parameters
    ----------
    columns : Tensor, (C,) int64
        Features in use.
    values : Tensor, (P, C)
        Training environments x_J.
    norms : Tensor, (P,)
        Their squared norms.
    weights : Tensor, (P,)
        a_J, Hartree.
    vectors : Tensor, (P, C) or (0, C)
        p_J; empty where energies alone were learned.
    width : Tensor, ()
        s of the Gaussian.
    """

    columns: Tensor
    values: Tensor
    norms: Tensor
    weights: Tensor
    vectors: Tensor
    width: Tensor

    def __call__(self, environments: Tensor, *, slopes: bool = True, block: int = _BLOCK) -> AtomicTerms:
        """Evaluate the atomic energies.

        Parameters
        ----------
        environments : Tensor, (N, D)
            Of atoms of this element, with all features.
        slopes : bool
            Differentiate also.
        block : int
            Pairs of environments that are held at a time.

        Returns
        -------
        AtomicTerms
        """
        parts = [self._evaluate(x, slopes) for x in environments.split(max(1, block // len(self.values)))]
        if not parts:
            return AtomicTerms(environments.new_zeros(0), torch.zeros_like(environments), environments.new_zeros(0))
        energies, gradients, nearest = zip(*parts, strict=True)
        return AtomicTerms(torch.cat(energies), torch.cat(gradients), torch.cat(nearest))

    def _evaluate(self, environments: Tensor, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
        g = self.width**-2
        x = environments[:, self.columns]
        squares = (environments.square().sum(dim=1)[:, None] + self.norms - 2 * (x @ self.values.T)).clamp_(min=0)
        k = torch.exp(-g / 2 * squares)  # (N, P)
        w = k * self.weights
        if len(self.vectors):
            w = k * (self.weights + g * (x @ self.vectors.T - (self.values * self.vectors).sum(dim=1)))
        gradient = environments.new_zeros(len(environments) if slopes else 0, environments.shape[1])
        if slopes:
            gradient -= g * w.sum(dim=1)[:, None] * environments
            along = w @ self.values
            if len(self.vectors):
                along += k @ self.vectors
            gradient[:, self.columns] += g * along
        return w.sum(dim=1), gradient, squares.min(dim=1).values.sqrt()


def expand(training: Environments, coefficients: Tensor, widths: Mapping[int, float]) -> dict[int, Expansion]:
    """Gather the coefficients of all rows by training environment.

    Parameters
    ----------
    training : Environments
        The training set, with R rows.
    coefficients : Tensor, (R,)
        From the solver.
    widths : mapping of int to float
        Those of the kernel.

    Returns
    -------
    dict of int to Expansion
        Atomic number -> expansion.

    Notes
    -----
    Gives what the kernel's rows times the coefficients give (``test_expansion_is_the_kernel_times_coefficients``).
    """
    of_molecules, of_directions = coefficients.split([training.n_molecules, training.n_directions])
    expansions = {}
    for z, block in training.blocks.items():
        vectors = block.values.new_zeros(len(block.values) if len(block.slopes) else 0, block.values.shape[1])
        if len(block.slopes):
            vectors.index_add_(0, block.slope_atoms, of_directions[block.slope_rows][:, None] * block.slopes)
        weights, width = of_molecules[block.molecules], block.values.new_tensor(widths[z])
        expansions[z] = Expansion(block.columns, block.values, block.norms, weights, vectors, width)
    return expansions
