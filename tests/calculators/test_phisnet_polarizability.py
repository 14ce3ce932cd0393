"""Polarizabilities of predicted orbitals, beside PySCF's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.calculators.calculator import InputError
from ase.units import Bohr
from scipy.linalg import eigh

from ase_mlwave import PhiSNetCalculator
from tests.calculators.responses import FILE, distorted_water
from tests.calculators.waters import mole_of

REFERENCE = np.array(json.loads(FILE.read_text(encoding="utf-8"))["polarizability"])


@pytest.mark.parametrize(
    ("level", "tolerance"),
    [("functional", 7e-3), ("response", 5e-4), pytest.param("scf", 2e-4, marks=pytest.mark.slow)],
)
def test_polarizability_is_that_of_pyscf(level: str, tolerance: float) -> None:
    """Within 0.7 % from orbitals that are nearly right; within 0.03 % from a relaxed density."""
    calc = PhiSNetCalculator("phisnet-chno", energy=level)
    np.testing.assert_allclose(calc.polarizability(distorted_water()), REFERENCE, atol=tolerance)


def test_sum_over_states_is_the_derivative_by_a_field_on_the_predicted_matrix() -> None:
    """A Hamiltonian that was predicted without a field answers to none: only its orbitals mix."""
    calc, atoms = PhiSNetCalculator("phisnet-water"), distorted_water()
    H, S = calc.hamiltonian(atoms), calc.overlap(atoms)

    r = mole_of(atoms).intor("int1e_r")
    field, dipoles = 1e-3, []
    for sign in (1, -1):
        _, C = eigh(H + sign * field * r[2], S)
        dipoles.append(-np.einsum("xpq,pi,qi->x", r, C[:, :5], C[:, :5]) * 2)
    derivative = (dipoles[0] - dipoles[1]) / (2 * field) * Bohr**3
    np.testing.assert_allclose(calc.polarizability(atoms, coupled=False)[2], derivative, rtol=2e-3, atol=1e-3)


def test_levels_without_a_mean_field_are_refused() -> None:
    with pytest.raises(InputError, match="has no mean field"):
        PhiSNetCalculator("phisnet-water-ccsdt").polarizability(distorted_water())
