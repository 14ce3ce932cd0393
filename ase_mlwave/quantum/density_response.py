"""How the potential of a molecule answers to a change of its density, cheaply and nearly: J[dP] + f_xc dP.

The change of the density is fitted in an auxiliary basis, where the answer is one matrix,

    dF_pq = sum_P (pq|P) c_P,    c = (V^-1 + V^-1 K V^-1) sum_rs (P|rs) dP_rs,

with the Coulomb metric V and K_PQ, the integral of P f_xc Q. f_xc is the local kernel of the electron gas at a fixed
density, whatever the functional, on a coarse grid: repulsion is exact to the fit, exchange and correlation roughly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyscf import df, dft, gto, lib
from pyscf.lib.exceptions import BasisNotFoundError

__all__ = ["DensityResponse"]

Array = NDArray[np.float64]

#: Auxiliary basis: Coulomb fits are enough.
_AUXILIARY = "def2-universal-jfit"
#: The kernel's functional, the grid's level and points at a time, and the density below which there is none, 1/Bohr^3.
_KERNEL, _GRID_LEVEL, _POINTS, _THIN = "lda,pw", 1, 2000, 1e-5
#: Auxiliary functions below this on all points at hand do not count there.
_SMALL = 1e-4


class DensityResponse:
    """The answer of the Fock matrix to changes of the density.

    Parameters
    ----------
    mole : pyscf.gto.Mole
        The molecule; integrals of its three centres are kept in memory (`megabytes`).
    density : ndarray, (M, M)
        Where the kernel is taken, of both spins.

    Notes
    -----
    Laws: ``test_repulsion_of_a_change_is_that_of_pyscf``, ``test_kernel_is_the_derivative_of_the_local_potential``.
    """

    def __init__(self, mole: gto.Mole, density: Array) -> None:
        from ase_mlwave.quantum.auxiliary import three_centre_integrals  # loads torch

        auxiliary = _auxiliary_mole(mole)
        parts = three_centre_integrals(mole, auxiliary)
        self._integrals = np.concatenate([part for _, part in parts], axis=1)  # (M (M + 1) / 2, functions)
        metric = auxiliary.intor("int2c2e")
        inverse = np.linalg.pinv(metric, rcond=1e-12, hermitian=True)
        self._response = inverse + inverse @ _kernel(mole, auxiliary, density) @ inverse

    def __call__(self, change: Array) -> Array:
        """Give what is added to the Fock matrix.

        Parameters
        ----------
        change : ndarray, (M, M)
            dP of both spins, symmetric.

        Returns
        -------
        ndarray, (M, M)
            Hartree.
        """
        triangle = lib.pack_tril(2 * change - np.diag(change.diagonal()))
        answer: Array = lib.unpack_tril(self._integrals @ (self._response @ (triangle @ self._integrals)))
        return answer

    @staticmethod
    def megabytes(mole: gto.Mole) -> float:
        """Estimate the memory that the answer of a molecule takes."""
        return float(mole.nao * (mole.nao + 1) / 2 * _auxiliary_mole(mole).nao * 8e-6)


def _auxiliary_mole(mole: gto.Mole) -> gto.Mole:
    try:
        return df.addons.make_auxmol(mole, _AUXILIARY)
    except BasisNotFoundError:  # elements beyond radon
        return df.addons.make_auxmol(mole, df.make_auxbasis(mole))


def _kernel(mole: gto.Mole, auxiliary: gto.Mole, density: Array) -> Array:
    """Integrate P f_xc Q, (functions, functions), Hartree."""
    grid = dft.gen_grid.Grids(mole)
    grid.level, grid.verbose = _GRID_LEVEL, 0
    grid.build()
    matrix, numint = np.zeros((auxiliary.nao, auxiliary.nao)), dft.numint.NumInt()
    for start in range(0, len(grid.weights), _POINTS):
        points, weights = grid.coords[start : start + _POINTS], grid.weights[start : start + _POINTS]
        orbitals = mole.eval_gto("GTOval", points)
        rho = np.einsum("gp,gp->g", orbitals @ density, orbitals)
        kernel = numint.eval_xc_eff(_KERNEL, rho.clip(min=_THIN), deriv=2, xctype="LDA")[2][0, 0]
        strength = np.sqrt(np.abs(weights * kernel) * (rho > _THIN))  # f_xc is negative throughout
        functions = auxiliary.eval_gto("GTOval", points) * strength[:, None]
        near = np.flatnonzero(np.abs(functions).max(0) > _SMALL)
        some = functions[:, near]
        matrix[np.ix_(near, near)] -= some.T @ some
    return matrix
