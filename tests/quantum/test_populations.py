"""Mulliken charges and dipole moments against PySCF, and the laws they obey."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from pyscf import scf

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.populations import dipole_moment, mulliken_charges

POSITIONS = np.array([[0.1, 0.05, 0.22], [0.0, 1.55, -0.9], [0.1, -1.4, -0.95]])


@cache
def _water(charge: int = 0, shift: float = 0.0) -> scf.hf.RHF:
    field = scf.RHF(build_mole((8, 1, 1), POSITIONS + shift, "def2-svp", charge=charge))
    field.conv_tol = 1e-12
    field.kernel()
    return field


@pytest.mark.parametrize("charge", [0, 2])
def test_charges_and_dipole_equal_pyscf(charge: int) -> None:
    field = _water(charge)
    P = field.make_rdm1()
    np.testing.assert_allclose(mulliken_charges(P, field.mol), field.mulliken_pop(verbose=0)[1], atol=1e-12)
    np.testing.assert_allclose(dipole_moment(P, field.mol), field.dip_moment(unit="AU", verbose=0), atol=1e-12)


@pytest.mark.parametrize("charge", [0, 2])
def test_charges_add_up(charge: int) -> None:
    field = _water(charge)
    assert mulliken_charges(field.make_rdm1(), field.mol).sum() == pytest.approx(charge, abs=1e-11)


def test_signs_are_those_of_chemistry() -> None:
    field = _water()
    charges = mulliken_charges(field.make_rdm1(), field.mol)
    assert charges[0] < 0 < charges[1]
    # From minus to plus: from the oxygen to the hydrogens, which lie at lower z.
    assert dipole_moment(field.make_rdm1(), field.mol)[2] < -0.3


def test_dipole_moment_depends_on_the_origin_of_ions_only() -> None:
    origin = np.array([1.0, -2.0, 0.5])
    neutral, ion = _water(), _water(2)
    at_origin = dipole_moment(neutral.make_rdm1(), neutral.mol, origin)
    np.testing.assert_allclose(at_origin, dipole_moment(neutral.make_rdm1(), neutral.mol), atol=1e-11)
    moved = _water(0, 3.0)
    np.testing.assert_allclose(dipole_moment(moved.make_rdm1(), moved.mol), at_origin, atol=1e-6)
    difference = dipole_moment(ion.make_rdm1(), ion.mol, origin) - dipole_moment(ion.make_rdm1(), ion.mol)
    np.testing.assert_allclose(difference, -2 * origin, atol=1e-11)


def test_dipole_moment_is_the_derivative_of_the_energy_in_a_field() -> None:
    field = _water()
    energies = []
    for strength in (1e-3, -1e-3):
        perturbed = scf.RHF(field.mol)
        core = perturbed.get_hcore() + strength * field.mol.intor("int1e_r")[2]
        perturbed.get_hcore = lambda *_, core=core: core
        perturbed.conv_tol = 1e-12
        nuclei = -strength * field.mol.atom_charges() @ field.mol.atom_coords()[:, 2]
        energies.append(perturbed.kernel() + nuclei)
    numerical = -(energies[0] - energies[1]) / 2e-3
    assert dipole_moment(field.make_rdm1(), field.mol)[2] == pytest.approx(numerical, abs=1e-5)


def test_wrong_shape_is_refused() -> None:
    mole = _water().mol
    for function in (mulliken_charges, dipole_moment):
        with pytest.raises(ValueError, match="summed over spins"):
            function(np.zeros((2, 24, 24)), mole)
