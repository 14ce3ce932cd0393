"""A kernel regression with a basis of environments instead of all of them: as many forces as one likes.

All rows y (energies of molecules, derivatives along directions) are expanded in the kernels k with M basis
environments. With K_MM = P P^T between those, whitened rows f = k P^-T stacked to F, and L = diag(lambda),

    w = P^-T (1 + F^T L^-1 F)^-1 F^T L^-1 y,

the mean of the Gaussian process whose kernel is F F^T. Cost and memory grow linearly with the number of rows:
molecules are differentiated one after the other and only sums are kept. Whatever the basis misses counts as unknown in
the variance at a query q,

    var = amplitude * (k(q, q) - f f^T + f (1 + F^T L^-1 F)^-1 f^T).

Source: Quinonero-Candela and Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005), deterministic training conditional; for
forces Bartok and Csanyi, Int. J. Quantum Chem. 115, 1051 (2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.amons.regression.basis import basis_factor
from ase_mlwave.models.amons.regression.environments import Environments
from ase_mlwave.models.amons.regression.solver import Solution, log_likelihood

__all__ = ["Sums", "solve_sparse", "sparse_variance", "sum_rows"]

#: Rows whose products are summed up at once.
_TOGETHER = 512

Molecule = tuple[NDArray[np.int64], Tensor, Tensor]


@dataclass(frozen=True)
class Sums:
    """Hold what is left of the rows.

    Parameters
    ----------
    energies : Tensor, (B, M)
        Whitened rows f of the molecules' energies.
    targets : Tensor, (B,)
        Their y, Hartree.
    matrix : Tensor, (M, M)
        Sum of f^T f over directions.
    vector : Tensor, (M,)
        Sum of f^T y over directions.
    own : Tensor, (B,)
        Kernel of each molecule with itself.
    square : float
        Sum of y^2 over directions.
    n_directions : int
        How many there are.
    """

    energies: Tensor
    targets: Tensor
    matrix: Tensor
    vector: Tensor
    own: Tensor
    square: float
    n_directions: int


def sum_rows(
    molecules: Iterable[Molecule],
    basis: Environments,
    widths: Mapping[int, float],
    energies: Tensor,
    slopes: Tensor,
    *,
    progress: Callable[[int], None] | None = None,
) -> Sums:
    """Pass over all molecules, and sum up the products of their rows.

    Parameters
    ----------
    molecules : iterable of (numbers (N,), environments (N, D), slopes (R, N, D))
        One after the other.
    basis : Environments
        From `choose_basis`.
    widths : mapping of int to float
        Those of the kernel.
    energies : Tensor, (B,)
        y of the molecules, Hartree.
    slopes : Tensor, (sum of R,)
        y of all directions in order, Hartree/Bohr.
    progress : callable, optional
        Called with 1 after every molecule.

    Returns
    -------
    Sums
    """
    size, device = basis.n_molecules, energies.device
    prior = basis_factor(basis, widths)
    matrix = torch.zeros(size, size, dtype=torch.float64, device=device)
    vector = torch.zeros(size, dtype=torch.float64, device=device)
    rows: list[Tensor] = []
    own: list[Tensor] = []
    waiting: list[Tensor] = []
    first = 0

    def add() -> None:
        """Whiten the rows of directions that wait, and add their products: many at once, for the sake of speed."""
        nonlocal first
        together = torch.cat(waiting)
        waiting.clear()
        whitened = torch.linalg.solve_triangular(prior, together.T, upper=False).T
        matrix.addmm_(whitened.T, whitened)
        vector.addmv_(whitened.T, slopes[first : first + len(together)])
        first += len(together)

    for numbers, values, along in molecules:
        kernels = _rows_of(numbers, values, along, basis, widths)
        rows.append(kernels[0])
        own.append(_own_kernel(numbers, values, widths))
        waiting.append(kernels[1:])
        if sum(map(len, waiting)) >= _TOGETHER:
            add()
        if progress is not None:
            progress(1)
    if waiting:
        add()
    whitened = torch.linalg.solve_triangular(prior, torch.stack(rows).T, upper=False).T
    return Sums(whitened, energies, matrix, vector, torch.stack(own), float(slopes.square().sum()), first)


def solve_sparse(
    basis: Environments,
    widths: Mapping[int, float],
    sums: Sums,
    penalty: float,
    force_penalty: float,
    *,
    kept: Tensor | None = None,
) -> Solution:
    """Solve the equations of the sparse regression.

    Parameters
    ----------
    basis : Environments
        From `choose_basis`.
    widths : mapping of int to float
        Those of the kernel.
    sums : Sums
        From `sum_rows`.
    penalty, force_penalty : float
        lambda of energies and of directions.
    kept : Tensor, optional, (M',)
        Places of the basis for variances, from `leading`; by default all.

    Returns
    -------
    Solution
        The factor is that of 1 + F^T L^-1 F in the basis for variances; its singular values are 1 or more, so that
        single precision keeps it well. The amplitude is such that the residuals of energies have the variances that
        are claimed for them. Residuals and variances are those of the energies; the basis stays.

    Notes
    -----
    With all environments as the basis and energies alone the full regression
    (``test_complete_basis_is_the_full_regression``).
    """
    matrix = sums.matrix / force_penalty + sums.energies.T @ sums.energies / penalty
    matrix.diagonal().add_(1.0)
    vector = sums.vector / force_penalty + sums.energies.T @ sums.targets / penalty
    root = torch.linalg.cholesky(matrix)
    solved = torch.cholesky_solve(vector[:, None], root)[:, 0]
    prior = basis_factor(basis, widths)
    coefficients = torch.linalg.solve_triangular(prior.T, solved[:, None], upper=True)[:, 0]
    n_rows = len(sums.targets) + sums.n_directions
    square = sums.square / force_penalty + float(sums.targets.square().sum()) / penalty
    determinant = 2 * float(root.diagonal().log().sum())
    determinant += len(sums.targets) * math.log(penalty) + sums.n_directions * math.log(force_penalty)
    likelihood = log_likelihood(square - float(vector @ solved), determinant, n_rows)
    left_out = _left_out(root, sums.energies, penalty)
    residuals = (sums.targets - sums.energies @ solved) / penalty * left_out
    factor, rows = root, sums.energies
    if kept is not None and len(kept) < len(root):
        factor, rows = torch.linalg.cholesky(matrix[kept][:, kept]), sums.energies[:, kept]
    claimed = _left_out(factor, rows, penalty) + (sums.own - rows.square().sum(dim=1)).clamp(min=0)
    amplitude = float((residuals.square() / claimed).mean())
    return Solution(coefficients, factor, amplitude, likelihood, residuals, amplitude * claimed)


def sparse_variance(prior: Tensor, factor: Tensor, rows: Tensor, own: Tensor, amplitude: float | Tensor) -> Tensor:
    """Compute the variance that training leaves.

    Parameters
    ----------
    prior : Tensor, (M, M)
        From `basis_factor`.
    factor : Tensor, (M, M)
        From `solve_sparse`.
    rows : Tensor, (Q, M)
        Kernel between queries and basis.
    own : Tensor, (Q,)
        Kernel of each query with itself.
    amplitude : float or Tensor ()
        Hartree^2.

    Returns
    -------
    Tensor, (Q,)
        Not negative; Hartree^2, of derivatives Hartree^2/Bohr^2.
    """
    whitened = torch.linalg.solve_triangular(prior, rows.T, upper=False)
    uncertain = torch.linalg.solve_triangular(factor, whitened, upper=False).square().sum(dim=0)
    missed = (own - whitened.square().sum(dim=0)).clamp(min=0)
    variance: Tensor = amplitude * (missed + uncertain)
    return variance


def _left_out(factor: Tensor, rows: Tensor, penalty: float) -> Tensor:
    """Return the variances of energies that are predicted from all other rows, in units of the amplitude; (B,)."""
    explained = torch.linalg.solve_triangular(factor, rows.T, upper=False).square().sum(dim=0) / penalty
    variances: Tensor = penalty / (1 - explained).clamp(min=1e-12)
    return variances


def _own_kernel(numbers: NDArray[np.int64], values: Tensor, widths: Mapping[int, float]) -> Tensor:
    """Return the kernel () of a molecule with itself."""
    total = values.new_zeros(())
    for z in np.unique(numbers).tolist():
        x = values[torch.from_numpy(np.flatnonzero(numbers == z)).to(values.device)]
        total = total + torch.exp(-0.5 * torch.cdist(x, x).square() / widths[z] ** 2).sum()
    return total


def _rows_of(
    numbers: NDArray[np.int64], values: Tensor, slopes: Tensor, basis: Environments, widths: Mapping[int, float]
) -> Tensor:
    """Return the kernels of a molecule with the basis, and their derivatives along its directions; (1 + R, M)."""
    rows = values.new_zeros(1 + len(slopes), basis.n_molecules)
    for z, block in basis.blocks.items():
        atoms = torch.from_numpy(np.flatnonzero(numbers == z)).to(values.device)
        if not len(atoms):
            continue
        g = widths[z] ** -2
        x = values[atoms]
        inside = x[:, block.columns]
        squares = x.square().sum(dim=1)[:, None] + block.norms - 2 * (inside @ block.values.T)
        kernel = torch.exp(-g / 2 * squares.clamp_(min=0))  # (n, m)
        where = slice(int(block.molecules[0]), int(block.molecules[-1]) + 1)
        rows[0, where] = kernel.sum(dim=0)
        if len(slopes):
            v = slopes[:, atoms]  # (R, n, D)
            across = v[:, :, block.columns] @ block.values.T - (v * x).sum(dim=2, keepdim=True)  # (x_m - x_I) . v_I
            rows[1:, where] = g * torch.einsum("rnm,nm->rm", across, kernel)
    return rows
