from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2

from ase_mlwave.models.domain.wall import Wall, repulsion
from ase_mlwave.systems.conversion import system_from_atoms
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.units import BOHR


def of(atoms: Atoms) -> Wall:
    return repulsion(system_from_atoms(atoms))


def test_wall_is_zero_for_bonds() -> None:
    for name in g2.names:
        assert of(molecule(name)).energy == 0.0, name


def test_wall_rises_without_end() -> None:
    energies = [of(Atoms("CO", [[0, 0, 0], [0, 0, r]])).energy for r in (0.95, 0.8, 0.6, 0.4, 0.2)]
    assert all(energies[k + 1] > 3 * energies[k] > 0 for k in range(4))
    assert energies[2] > 0.5  # Hartree, at the distance to which a kernel model once pulled formic acid


@pytest.mark.parametrize("periodic", [False, True])
def test_wall_pushes_with_minus_its_derivative(periodic: bool) -> None:
    if periodic:
        atoms = bulk("Si", "diamond", a=2.6)
        atoms.rattle(0.05, seed=1)
    else:
        atoms = molecule("CH3OH")
        atoms.positions *= 0.55
    wall = of(atoms)
    assert wall.energy > 0.01
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step * BOHR
            ends.append(of(moved).energy)
        assert wall.forces[atom, axis] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-7)
    ends = []
    for sign in (1, -1):
        strained = atoms.copy()
        strain = np.eye(3) + sign * step * np.array([[1, 0.5, 0], [0.5, 0, 0], [0, 0, -0.3]])
        strained.set_cell(atoms.cell @ strain, scale_atoms=False)
        strained.positions = atoms.positions @ strain
        ends.append(of(strained).energy)
    along = (wall.virial * np.array([[1, 0.5, 0], [0.5, 0, 0], [0, 0, -0.3]])).sum()
    assert along == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_wall_of_remembered_contacts_is_the_same() -> None:
    atoms, contacts = bulk("Si", "diamond", a=3.6).repeat(2), NeighbourList(skin=1.0)
    for seed in range(5):
        atoms.rattle(0.1, seed=seed)
        system = system_from_atoms(atoms)
        remembered, wall = repulsion(system, contacts), repulsion(system)
        assert remembered.energy == wall.energy > 0
        np.testing.assert_array_equal(remembered.forces, wall.forces)
