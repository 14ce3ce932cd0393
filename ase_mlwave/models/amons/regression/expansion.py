"""The fitted energy as a sum over training environments, and its derivative with respect to a query's environments.

All rows of the training set that hold an environment x_J add up to two things, a weight a_J (of energies) and a vector
p_J (of slopes along directions), so that an atom of a query has the energy

    f(x) = sum_J k(x, x_J) (a_J + g (x - x_J) . p_J),

whatever the number of directions. Its derivative is as cheap as itself:

    df/dx = g sum_J (w_J (x_J - x) + k p_J),   w_J = k (a_J + g (x - x_J) . p_J).

Weights are large and cancel: of 1e5 Hartree each times a k near 1, rounding leaves 1e-7 eV in every order of summation
another way. So what is summed is k - 1, which is small and known to as many digits, and the sums of weights with k = 1,
constants, are taken once in extended precision (``test_energies_have_all_digits``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ase_mlwave.models.amons.regression.environments import Environments

__all__ = ["AtomicTerms", "Expansion", "common_features", "exact_sum", "expand"]

#: Pairs of environments that are held at a time.
_BLOCK = 4_000_000
#: Environments whose products with weights are summed up at a time.
_SUMMED = 1024


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
    changes : Tensor, (N, P)
        k - 1 with every training environment.
    """

    energies: Tensor
    slopes: Tensor
    nearest: Tensor
    changes: Tensor


@dataclass(frozen=True)
class _Constants:
    """Sums over training environments, for k = 1.

    Parameters
    ----------
    g : float
        1 / s^2.
    weights : Tensor, (P,)
        a_J - g x_J . p_J.
    energy : float
        Their sum.
    moment : Tensor, (C,)
        Sum of weight x_J + p_J.
    """

    g: float
    weights: Tensor
    energy: float
    moment: Tensor


@dataclass(frozen=True)
class Expansion:
    """Hold the training environments of one element with their weights.

    Parameters
    ----------
    columns : Tensor, (C,) int64
        Features in use, ascending.
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

    def map(self, function: Callable[[Tensor], Tensor]) -> Expansion:
        """Apply a function, such as a move to a device, to all tensors; constants are not summed up again."""
        moved = Expansion(*(function(getattr(self, one.name)) for one in fields(self)))
        if "constants" in vars(self):
            c = self.constants
            vars(moved)["constants"] = _Constants(c.g, function(c.weights), c.energy, function(c.moment))
        return moved

    @cached_property
    def constants(self) -> _Constants:
        """Sums for k = 1, on whatever device the same."""
        g, weights = float(self.width) ** -2, self.weights
        if len(self.vectors):
            weights = weights - g * (self.values * self.vectors).sum(dim=1)
        moment = exact_sum(weights, self.values)
        if len(self.vectors):
            moment = moment + self.vectors.sum(dim=0)
        return _Constants(g, weights, float(exact_sum(weights, torch.ones_like(weights)[:, None])), moment)

    def among(self, features: Tensor) -> Expansion:
        """Keep the features (D',), ascending, that queries have: of environments that are zero in all others.

        Notes
        -----
        Norms and constants stay those of all features, so that energies do.
        """
        known, places = common_features(features, self.columns)
        values, vectors = (array[:, places].contiguous() for array in (self.values, self.vectors))
        kept = Expansion(known, values, self.norms, self.weights, vectors, self.width)
        vars(kept)["constants"] = replace(self.constants, moment=self.constants.moment[places])
        return kept

    def inside(self, environments: Tensor) -> Tensor:
        """Return the features in use of environments (N, D), (N, C)."""
        return environments if len(self.columns) == environments.shape[1] else environments[:, self.columns]

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
        if len(parts) == 1:
            return AtomicTerms(*parts[0])
        return AtomicTerms(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _evaluate(self, environments: Tensor, slopes: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        constants, x = self.constants, self.inside(environments)
        g = constants.g
        norms = environments.square().sum(dim=1, keepdim=True) + self.norms
        squares = torch.addmm(norms, x, self.values.T, alpha=-2.0).clamp_(min=0)  # (N, P)
        changes = torch.expm1(squares * (-g / 2))
        rest = changes * constants.weights  # w - a of k = 1
        if len(self.vectors):
            along = g * (x @ self.vectors.T)
            rest = rest + (1 + changes) * along
        total = rest.sum(dim=1) + constants.energy
        nearest = squares.amin(dim=1).sqrt()
        if not slopes:
            return total, environments.new_zeros(0, environments.shape[1]), nearest, changes
        pulled = torch.addmm(constants.moment, rest, self.values)
        if len(self.vectors):
            pulled = pulled + changes @ self.vectors
        gradient = total[:, None] * environments
        if x is environments:
            gradient = torch.sub(pulled, gradient)
        else:
            gradient = gradient.neg_().index_add_(1, self.columns, pulled)
        return total, gradient * g, nearest, changes


def common_features(features: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Find features among columns, both ascending: which ones are there, and where."""
    places = torch.searchsorted(columns, features).clamp(max=len(columns) - 1)
    known = (columns[places] == features).nonzero()[:, 0]
    return known, places[known]


def exact_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Sum up weights (P,) times rows (P, C) in extended precision, (C,): on the CPU, where there is such a number."""
    total = np.zeros(values.shape[1], dtype=np.longdouble)
    for some, rows in zip(weights.split(_SUMMED), values.split(_SUMMED), strict=True):
        total += some.cpu().numpy().astype(np.longdouble) @ rows.cpu().numpy().astype(np.longdouble)
    return torch.from_numpy(total.astype(np.float64)).to(weights.device)


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
