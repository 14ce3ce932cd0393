"""Least squares from sums over rows: any number of them, in the memory of their columns squared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

__all__ = ["NormalEquations"]

Array = NDArray[np.float64]

#: Least scale of a pair function, relative to the largest.
_FLOOR = 0.1


@dataclass
class NormalEquations:
    """Sums of products of rows: what least squares needs of any number of them.

    Parameters
    ----------
    gram : (M, M)
        Of the columns.
    moment : (M,)
        Of the columns with the targets.
    square : float
        Of the targets.
    rows : int
        How many.
    """

    gram: Array
    moment: Array
    square: float = 0.0
    rows: int = 0

    @classmethod
    def empty(cls, n_columns: int) -> NormalEquations:
        """Start with no rows."""
        return cls(np.zeros((n_columns, n_columns)), np.zeros(n_columns))

    def add(self, rows: Array, targets: Array) -> None:
        """Add rows (R, M) with targets (R,)."""
        self.gram += rows.T @ rows
        self.moment += rows.T @ targets
        self.square += float(targets @ targets)
        self.rows += len(targets)

    @classmethod
    def weighted(cls, parts: Sequence[NormalEquations], weights: Sequence[float]) -> NormalEquations:
        """Join sums whose rows and targets are multiplied by a weight each."""
        total = cls.empty(len(parts[0].moment))
        for part, weight in zip(parts, weights, strict=True):
            total.gram += weight**2 * part.gram
            total.moment += weight**2 * part.moment
            total.square += weight**2 * part.square
            total.rows += part.rows
        return total

    def mean_square(self, solution: Array) -> float:
        """Mean squared residual of a solution (M,)."""
        return float(solution @ (self.gram @ solution) - 2 * self.moment @ solution + self.square) / max(1, self.rows)

    def scale(self, n_free: int, n_pairs: int = 0) -> Array:
        """Give what columns (M,) are divided by; inf where all rows are zero. Parameters as for `solve`."""
        scale = np.sqrt(np.diagonal(self.gram) / self.rows) + 1e-300
        scale[scale < 1e-12 * scale.max()] = np.inf  # columns of zeros: an element that the data lack
        pairs = scale[len(scale) - n_free - n_pairs : len(scale) - n_free]
        pairs[pairs < np.inf] = np.maximum(pairs[pairs < np.inf], _FLOOR * pairs[pairs < np.inf].max(initial=0.0))
        return scale

    def solve(self, penalty: float, n_free: int, n_pairs: int = 0) -> Array:
        """Minimise the mean squared residual plus ``penalty`` times the mean squared contributions.

        Parameters
        ----------
        penalty : float
            Without a unit: columns are scaled to a mean square of one.
        n_free : int
            Columns at the end that are hardly penalised.
        n_pairs : int
            Columns before these whose scale is at least a tenth of their largest: a function of a distance that hardly
            any training molecule has is not free to be large where another molecule has it.

        Returns
        -------
        (M,)

        Raises
        ------
        LinAlgError
            If the penalty is too small for the columns' linear dependence.
        """
        scale = self.scale(n_free, n_pairs)
        weights = np.full(len(scale), penalty)
        weights[len(scale) - n_free :] = 1e-12
        matrix = self.gram / np.outer(scale, scale) / self.rows
        matrix[np.diag_indices_from(matrix)] += weights
        solution: Array = cho_solve(cho_factor(matrix, lower=True), self.moment / scale / self.rows) / scale
        return solution
