"""What ASE and PySCF make of a molecule or a cell is read as it is, and written as it was."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from pyscf import gto

from ase_mlwave.systems.conversion import atoms_from_system, system_from_atoms, system_from_mole
from ase_mlwave.units import BOHR


@pytest.mark.parametrize(
    "atoms",
    [
        molecule("CH3OH"),
        molecule("OH", info={"spin": 1}),
        molecule("H2O", info={"charge": -1, "spin": 1}, cell=[9, 9, 9]),
        bulk("Si"),
        graphene(vacuum=5.0),
    ],
    ids=str,
)
def test_atoms_come_back_as_they_were(atoms: Atoms) -> None:
    system = system_from_atoms(atoms)
    again = atoms_from_system(system)
    assert (system.charge, system.spin) == (atoms.info.get("charge", 0), atoms.info.get("spin", 0))
    assert again.info == atoms.info
    np.testing.assert_array_equal(again.numbers, atoms.numbers)
    np.testing.assert_array_equal(again.pbc, atoms.pbc)
    np.testing.assert_allclose(again.positions, atoms.positions, rtol=0, atol=1e-14)
    np.testing.assert_allclose(again.cell.array, np.where(atoms.pbc[:, None], atoms.cell.array, 0.0), atol=1e-14)
    assert system_from_atoms(again).geometry_hash() == system.geometry_hash()


def test_charge_is_stated_where_an_entry_may_be_taken_for_one() -> None:
    water = system_from_atoms(molecule("H2O"))
    assert atoms_from_system(water, {"name": "water", "total_charge": -1}).info["charge"] == 0
    assert atoms_from_system(water, {"name": "water"}).info == {"name": "water"}


def test_mole_is_read_without_its_effective_core_potentials() -> None:
    mole = gto.M(atom="I 0 0 0; H 0 0 1.6", basis="def2-svp", ecp="def2-svp", charge=1, spin=-1)
    system = system_from_mole(mole)
    assert system.numbers.tolist() == [53, 1]
    assert (system.charge, system.spin) == (1, 1)
    assert system.positions[1, 2] * BOHR == pytest.approx(1.6)
