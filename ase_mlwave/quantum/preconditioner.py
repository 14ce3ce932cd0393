"""SCF in half the cycles: PySCF's DIIS, with Fock matrices that answer to the change of the density.

DIIS extrapolates Fock matrices, and diagonalises the result F_0 of density P_0 as if orbitals could change and the
potential stay. It does not: electrons that move repel one another where they arrive. Here the step goes to the density
that is self-consistent in F_0 + R[P - P_0], where R is a cheap model of that answer (`DensityResponse`): nearly a
Newton step, found by an SCF without grid and exchange, some cycles in a small part of the time of one.

What converges is the mean field as it is: R changes the way, not the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from pyscf import lib, scf
from pyscf.scf.diis import get_err_vec
from pyscf.soscf.newton_ah import _CIAH_SOSCF

from ase_mlwave.quantum.density_response import DensityResponse
from ase_mlwave.quantum.gpu import is_on_gpu

__all__ = ["ResponseDIIS", "is_served", "pays_off", "precondition"]

Array = NDArray[np.float64]

#: How far an inner SCF brings the residual down, and in how many cycles at most.
_SHARE, _INNER_CYCLES = 0.03, 20
#: Residual below which there is nothing to gain.
_LEAST = 1e-8


def precondition(mf: Any) -> Any:
    """Make an SCF of PySCF's converge in about half the cycles, to the same result.

    Parameters
    ----------
    mf : PySCF mean-field object
        RKS, RHF, UKS or UHF of a molecule, with any functional, with or without density fitting; not changed.

    Returns
    -------
    PySCF mean-field object
        A copy, to be used as the original: ``kernel``, gradients, a change of geometry, and so on. It begins with
        `ResponseDIIS` at once (``diis_start_cycle = 0``) and ends without a last diagonalisation (``conv_check =
        False``, but for a ``level_shift``), which is a step back to where orbitals repel as if they stood still.

    Raises
    ------
    InputError
        If it is another kind of method, or is converged by another solver than DIIS (``mf.newton()``).

    Notes
    -----
    For semilocal functionals and hybrids; Hartree-Fock theory, whose exchange is not in the model of the answer, saves
    cycles but no time. Nothing is gained where three-centre integrals do not fit into ``mf.max_memory``: DIIS is
    PySCF's there, and ``mf.verbose`` of 3 or more says so.
    Law: ``test_preconditioned_scf_finds_the_same_energy_in_fewer_cycles``.

    Examples
    --------
    >>> mf = precondition(dft.RKS(mol, xc="pbe").density_fit())
    >>> mf.kernel(dm0=PhiSNetCalculator("phisnet-chno").initial_guess(mf))
    """
    if not is_served(mf):
        raise InputError(
            f"precondition is for DIIS of RKS, RHF, UKS and UHF of molecules on the CPU, got {type(mf).__name__}. "
            "Run it as it is."
        )
    twin = mf.copy()
    twin.DIIS, twin.diis_start_cycle, twin.conv_check = ResponseDIIS, 0, bool(twin.level_shift)
    return twin


def is_served(mf: Any) -> bool:
    """Tell whether `precondition` takes a mean field."""
    kinds = isinstance(mf, (scf.hf.RHF, scf.uhf.UHF)) and not isinstance(mf, (scf.rohf.ROHF, _CIAH_SOSCF))
    return kinds and not is_on_gpu(mf) and not hasattr(mf, "cell")


def pays_off(mf: Any) -> bool:
    """Tell whether `precondition` takes a mean field and saves time: one with a grid to visit."""
    return is_served(mf) and hasattr(mf, "grids")


class ResponseDIIS(lib.diis.DIIS):  # type: ignore[misc]
    """What PySCF makes as ``mf.DIIS`` and asks for a Fock matrix in every cycle; set up by `precondition`."""

    def __init__(self, mf: Any = None, filename: str | None = None) -> None:
        super().__init__(mf, filename)
        self.rollback, self.space, self.damp, self.Corth = 0, 8, 0, None  # which PySCF sets
        self._answer: DensityResponse | None = None
        self._fits = True

    def update(self, s: Array, d: Array, f: Array, mf: Any, *_: Any, **__: Any) -> Array:
        """Give the Fock matrix to diagonalise next.

        Parameters
        ----------
        s : ndarray, (M, M)
            Overlap.
        d, f : ndarray, (M, M) or (2, M, M)
            The cycle's density and its Fock matrix, Hartree.
        mf : PySCF mean-field object
            Gives orbitals and occupations.

        Returns
        -------
        ndarray, like ``f``
            Hartree.
        """
        density, fock = np.asarray(d), np.asarray(f)
        residual = get_err_vec(s, density, fock, self.Corth)
        size = float(np.linalg.norm(residual))
        fock, density = np.asarray(super().update(np.stack([fock, density]), xerr=residual))
        if self._answer is None and self._fits:
            self._prepare(mf, density)
        extrapolated: Array = fock
        if self._answer is None or not _LEAST < size < np.inf:
            return extrapolated
        with _silent(mf):
            relaxed = self._relaxed(s, fock, density, mf, max(_SHARE * size, _LEAST))
        return extrapolated if relaxed is None else relaxed

    def _prepare(self, mf: Any, density: Array) -> None:
        needed, allowed = DensityResponse.megabytes(mf.mol), mf.max_memory - lib.current_memory()[0]
        self._fits = needed < allowed
        if self._fits:
            self._answer = DensityResponse(mf.mol, _total(density))
        else:
            lib.logger.warn(
                mf, "integrals of the preconditioner take %.0f MB, and %.0f are allowed: plain DIIS", needed, allowed
            )

    def _relaxed(self, s: Array, fock: Array, density: Array, mf: Any, enough: float) -> Array | None:
        """Converge F_0 + R[P - P_0] until the residual is small enough; None where it does not."""
        assert self._answer is not None
        inner = lib.diis.DIIS()
        inner.space, inner.verbose = 8, 0
        trial = fock
        for _ in range(_INNER_CYCLES):
            energies, orbitals = mf.eig(trial, s)
            changed = np.asarray(mf.make_rdm1(orbitals, mf.get_occ(energies, orbitals)))
            field = fock + self._answer(_total(changed - density))
            residual = get_err_vec(s, changed, field, self.Corth)
            if np.linalg.norm(residual) < enough:
                return field
            trial = inner.update(field, xerr=residual)
        return None


def _total(density: Array) -> Array:
    """Add up the densities of both spins."""
    return density if density.ndim == 2 else density.sum(0)


@contextmanager
def _silent(mf: Any) -> Iterator[None]:
    verbose, mf.verbose = mf.verbose, 0
    try:
        yield
    finally:
        mf.verbose = verbose
