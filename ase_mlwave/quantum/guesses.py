"""PySCF's own initial guesses, and a predicted one in their place where it is sure to serve."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from ase.calculators.calculator import CalculationFailed, CalculatorError, InputError
from numpy.typing import NDArray
from pyscf import gto

from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning, suggestion
from ase_mlwave.quantum.gpu import is_on_gpu, to_numpy
from ase_mlwave.quantum.initial_guess import adapt_density, check_target, doubt
from ase_mlwave.quantum.names import without_evaluation

__all__ = ["PYSCF_GUESSES", "Predicted", "predicted_guess"]

Array = NDArray[np.float64]
#: Density matrix (M, M), orbital energies (M,) and the molecule in the basis of both.
Predicted = tuple[Array, Array, gto.Mole]

#: PySCF's initial guesses that need no file. PySCF itself takes an unknown name for "minao" without a word.
PYSCF_GUESSES = ("minao", "atom", "huckel", "mod_huckel", "sap", "vsap", "1e", "hcore")


def predicted_guess(mean_field: Any, predict: Callable[[gto.Mole], Predicted], fallback: str | None = None) -> Array:
    """Return a predicted density as ``dm0``, or with a warning one of PySCF's own guesses.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Not changed.
    predict : callable
        Gives density, orbital energies and molecule of a ``Mole``; raises `OutOfDomainError` where it knows nothing of
        the molecule, and another of ASE's errors where it cannot serve.
    fallback : str, optional
        One of ``PYSCF_GUESSES``, for all that cannot be predicted. By default what cannot be served is an error, and
        what is doubtful gets PySCF's own guess (``mean_field.init_guess``).

    Returns
    -------
    ndarray, (M', M') or (2, M', M')
        In the basis of ``mean_field.mol``.

    Raises
    ------
    InputError
        If ``fallback`` is no guess of PySCF's; or as `check_target` and ``predict``, if there is no fallback.
    CalculationFailed
        As ``predict``; or if PySCF cannot make its own guess, as ``"minao"`` in a basis with linear dependences.
    """
    if fallback is not None and (not isinstance(fallback, str) or fallback not in PYSCF_GUESSES):
        raise InputError(
            f"fallback is {fallback!r}, which is no initial guess of PySCF's. "
            f"{suggestion(str(fallback), PYSCF_GUESSES)}"
        )
    reason: str | None
    category: type[UserWarning] = UserWarning
    try:
        check_target(mean_field)
        density, orbital_energies, source = predict(mean_field.mol)
        reason = doubt(mean_field, orbital_energies, mean_field.mol.nelectron // 2)
        if reason is None:
            return adapt_density(density, source, mean_field)
    except OutOfDomainError:
        reason, category = "the molecule is unlike anything that it was trained on", OutOfDomainWarning
    except CalculatorError as error:
        mole = getattr(mean_field, "mol", None)
        if not isinstance(mole, gto.Mole) or not np.isfinite(mole.atom_coords()).all():
            raise  # nobody can guess for these
        if fallback is None:
            message = f"{str(error).rstrip('.')}. Or give fallback='minao', for PySCF's own guess."
            raise type(error)(message) from error
        reason = str(error)
    name = fallback or mean_field.init_guess
    warnings.warn(f"the model cannot guess, PySCF's {name!r} guess is used: {reason}", category, stacklevel=3)
    return _pyscf_guess(mean_field, name)


def _pyscf_guess(mean_field: Any, name: str) -> Array:
    """Make one of PySCF's own initial guesses."""
    try:
        with without_evaluation():
            guess: Array = mean_field.get_init_guess(mean_field.mol, name)
    except scipy.linalg.LinAlgError as error:
        raise CalculationFailed(
            f"PySCF's own guess {name!r} fails in this basis ({error}); give fallback='hcore', which needs no "
            "projection"
        ) from error
    return to_numpy(guess) if is_on_gpu(mean_field) else guess
