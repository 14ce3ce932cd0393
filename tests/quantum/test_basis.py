"""Shells of elements and PySCF molecules built from arrays."""

from __future__ import annotations

import numpy as np
import pytest

from ase_mlwave.quantum.basis import build_mole, n_functions, shells

NUMBERS = (8, 1, 6)
POSITIONS = np.array([[0.0, 0.0, 0.3], [0.0, 1.4, -0.9], [0.2, -1.9, -1.0]])


@pytest.mark.parametrize("basis", ["def2-svp", "def2-tzvp", "cc-pvdz", "6-31g*", "sto-3g"])
def test_shells_follow_the_order_of_basis_functions(basis: str) -> None:
    """Compare with the labels that PySCF gives to every function, contracted or not."""
    mole = build_mole(NUMBERS, POSITIONS, basis, spin=None)
    expected = [(atom, shell[-1]) for atom, _, shell, _ in mole.ao_labels(fmt=None)]
    listed = [
        (atom, "spdf"[l])
        for atom, number in enumerate(NUMBERS)
        for l in shells(basis, number)
        for _ in range(2 * l + 1)
    ]
    assert listed == expected
    assert sum(n_functions(basis, number) for number in NUMBERS) == mole.nao


def test_shells_of_known_elements() -> None:
    assert shells("def2-svp", 8) == (0, 0, 0, 1, 1, 2)
    assert shells("def2-svp", 1) == (0, 0, 1)
    assert shells("def2-tzvp", 8) == (0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3)


def test_unknown_basis_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"no basis 'def2-nonsense' for O"):
        shells("def2-nonsense", 8)


def test_mole_has_the_given_geometry_in_bohr() -> None:
    mole = build_mole(np.array(NUMBERS), POSITIONS, "def2-svp", charge=1, spin=0)
    np.testing.assert_array_equal(mole.atom_coords(), POSITIONS)
    np.testing.assert_array_equal(mole.atom_charges(), NUMBERS)
    assert (mole.charge, mole.spin, mole.nelectron, mole.cart, mole.verbose) == (1, 0, 14, False, 0)
    with pytest.raises(RuntimeError, match="spin"):
        build_mole(NUMBERS, POSITIONS, "def2-svp")
