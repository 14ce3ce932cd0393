"""Static polarizabilities from orbitals: sum over states, or with the response of the mean field."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import CalculationFailed
from numpy.typing import NDArray
from pyscf.scf import cphf

__all__ = ["polarizability"]

Array = NDArray[np.float64]

#: Convergence of the response, and iterations until then.
_TOLERANCE, _ITERATIONS = 1e-7, 50


def polarizability(mean_field: Any, coefficients: Array, energies: Array, *, coupled: bool = True) -> Array:
    """Differentiate the dipole moment by a static electric field.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Closed-shell; says how the potential answers to a change of the density. It need not be converged.
    coefficients : ndarray, (M, M)
        Orbitals in columns, converged or predicted.
    energies : ndarray, (M,)
        Theirs, ascending, Hartree.
    coupled : bool
        Whether electrons see the change of each other's density (coupled-perturbed Kohn-Sham theory), or the field
        alone (sum over states).

    Returns
    -------
    ndarray, (3, 3)
        Bohr^3, symmetric.

    Raises
    ------
    CalculationFailed
        If the response does not converge.

    Notes
    -----
    alpha = 4 sum_ia mu_ia U_ia, with U_ia = mu_ia / (eps_a - eps_i) where electrons see the field alone. With converged
    orbitals it is the derivative of the dipole (``test_polarizability_of_converged_orbitals_is_that_of_a_field``).
    """
    mole = mean_field.mol
    n_occupied = mole.nelectron // 2
    occupied, virtual = coefficients[:, :n_occupied], coefficients[:, n_occupied:]
    dipoles: Array = np.einsum("xpq,pa,qi->xai", mole.intor("int1e_r"), virtual, occupied, optimize=True)
    gaps = energies[n_occupied:, None] - energies[:n_occupied]
    if not coupled:
        uncoupled: Array = 4 * np.einsum("xai,yai->xy", dipoles, dipoles / gaps)
        return uncoupled
    occupations = np.where(np.arange(len(energies)) < n_occupied, 2.0, 0.0)
    answer = mean_field.gen_response(coefficients, occupations, hermi=1)

    def potential(changes: Array) -> Array:
        U = np.asarray(changes).reshape(-1, *gaps.shape)
        half = 2 * np.einsum("pa,xai,qi->xpq", virtual, U, occupied, optimize=True)
        induced = answer(half + half.swapaxes(1, 2))
        result: Array = np.einsum("xpq,pa,qi->xai", induced, virtual, occupied, optimize=True)
        return result.reshape(np.shape(changes))

    settings = {"tol": _TOLERANCE, "max_cycle": _ITERATIONS, "verbose": 0}
    try:
        changes, _ = cphf.solve(potential, energies, occupations, dipoles, **settings)
    except RuntimeError as error:
        raise CalculationFailed(f"the response to an electric field does not converge: {error}") from error
    alpha = -4 * np.einsum("xai,yai->xy", dipoles, changes)
    symmetric: Array = (alpha + alpha.T) / 2
    return symmetric
