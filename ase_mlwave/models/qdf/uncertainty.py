"""How uncertain an energy is: what a molecule asks of the readout that no training molecule has determined."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["EnergyUncertainty"]

Array = NDArray[np.float64]

#: Variance of the weights before any data, relative to the training energies': what the fit cannot have determined.
_PRIOR = 1e-5


class EnergyUncertainty(nn.Module):
    """Standard deviation of the energy of a molecule, as the least squares of the readout give it.

    Parameters
    ----------
    n_columns : int
        Of the rows x that energies are linear in: features, then numbers of atoms.
    n_directions : int
        How many of the directions that training energies determine best are kept.

    Notes
    -----
    Energies are x.w, so that their variance is c^2 x.(G + prior)^-1 x with G the mean of x x^T over training molecules,
    x per atom there. Only the leading eigenvectors of G are kept; c is such that errors over deviations of the
    validation molecules have a mean square of one. A molecule whose features point where none of the training molecules
    do has a large one, however near to these its atoms' surroundings are
    (``test_energies_are_uncertain_where_no_training_molecule_is``).
    """

    directions: Tensor

    def __init__(self, n_columns: int, n_directions: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(n_directions, n_columns, dtype=torch.float32))

    def forward(self, rows: Tensor) -> Tensor:
        """Evaluate standard deviations (B,), Hartree, of molecules with rows (B, n_columns), Hartree and 1."""
        deviations: Tensor = (rows @ self.directions.to(rows.dtype).T).norm(dim=1)
        return deviations

    @torch.no_grad()
    def fit(self, gram: Array, scale: Array, rows: Array, errors: Array) -> None:
        """Learn what training molecules determine, and the scale from validation molecules.

        Parameters
        ----------
        gram : (n, n)
            Mean of products of the training molecules' rows per atom; n is at most the number of columns, others are 0.
        scale : (n,)
            What the columns are divided by, see `NormalEquations.scale`.
        rows : (V, n)
            Of the validation molecules, not per atom.
        errors : (V,)
            Of their energies, Hartree.
        """
        values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
        kept = slice(-min(len(self.directions), len(values)), None)
        directions = (vectors / np.sqrt(np.maximum(values, 0) + _PRIOR) / scale[:, None])[:, kept].T
        unit = np.linalg.norm(rows @ directions.T, axis=1)
        directions *= np.sqrt(np.mean(np.square(errors / np.maximum(unit, 1e-300))))
        self.directions.zero_()
        self.directions[: len(directions), : len(scale)] = torch.from_numpy(directions).to(self.directions)
