"""A prediction is handed over where it is sure to serve; else comes PySCF's own guess, with a warning, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed, InputError
from pyscf import gto, scf
from pyscf.scf import hf

from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
from ase_mlwave.quantum.guesses import Predicted, predicted_guess


@pytest.fixture(scope="module")
def converged() -> Any:
    """Return hydrogen fluoride, converged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hf, "MUTE_CHKFILE", True)
        mean_field = scf.RHF(gto.M(atom="H 0 0 0; F 0 0 0.92", basis="sto-3g", verbose=0))
        mean_field.kernel()
    return mean_field


def known(mean_field: Any) -> Any:
    return lambda mole: (mean_field.make_rdm1(), mean_field.mo_energy, mole)


def failing(error: Exception) -> Any:
    def predict(mole: gto.Mole) -> Predicted:
        raise error

    return predict


def test_what_is_known_is_handed_over(converged: Any) -> None:
    guess = predicted_guess(converged, known(converged))
    np.testing.assert_allclose(guess, converged.make_rdm1(), atol=1e-10)


@pytest.mark.parametrize("fallback", [None, "hcore"])
def test_doubt_and_the_domain_give_pyscfs_own_guess(converged: Any, fallback: str | None) -> None:
    own = converged.get_init_guess(converged.mol, fallback or converged.init_guess)
    closed_gap = lambda mole: (converged.make_rdm1(), np.zeros_like(converged.mo_energy), mole)  # noqa: E731
    with pytest.warns(UserWarning, match="the predicted gap is below"):
        np.testing.assert_array_equal(predicted_guess(converged, closed_gap, fallback), own)
    with pytest.warns(OutOfDomainWarning, match="unlike anything"):
        guess = predicted_guess(converged, failing(OutOfDomainError("far away")), fallback)
    np.testing.assert_array_equal(guess, own)


@pytest.mark.parametrize("error", [InputError("the model does not know F."), CalculationFailed("no eigenvalues.")])
def test_what_cannot_be_served_is_an_error_without_a_fallback(converged: Any, error: Exception) -> None:
    with pytest.raises(type(error), match=rf"{str(error)[:-1]}\. Or give fallback='minao'"):
        predicted_guess(converged, failing(error))
    with pytest.warns(UserWarning, match=f"PySCF's 'hcore' guess is used: {str(error)[:-1]}"):
        guess = predicted_guess(converged, failing(error), "hcore")
    np.testing.assert_array_equal(guess, converged.get_init_guess(converged.mol, "hcore"))


def test_unknown_fallback_names_the_nearest(converged: Any) -> None:
    with pytest.raises(InputError, match="Did you mean 'hcore'"):
        predicted_guess(converged, known(converged), "hcor")
