"""Which cells are refused, at once, and which are not."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.checks import read_atoms
from ase_mlwave.models.domain.scope import Domain
from ase_mlwave.units import BOHR

CELLS = Domain(frozenset({"H", "C", "N", "O", "Si"}), periodic=True)


def in_cell(cell: Any, pbc: Any = True, name: str = "NH3") -> Atoms:
    atoms = molecule(name)
    atoms.set_cell(cell)
    atoms.pbc = pbc
    return atoms


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        ([1.0, 1.0, 1.0], True, "repeats itself after 1 Angstrom"),
        ([1e-7, 1e-7, 1e-7], True, "repeats itself"),
        ([9, 9, 0.02], True, "repeats itself"),
        ([0.9, 9, 9], (True, False, False), "repeats itself"),
        ([[6, 0, 0], [6, 0.05, 0], [0, 0, 6]], True, "repeats itself after 0.05"),
        ([[6, 0, 0], [0, 6, 0], [17, 5.9, 1e-12]], True, "linearly dependent"),
        ([[6, 0, 0], [6, 1e-9, 0], [0, 0, 6]], True, "linearly dependent"),
        ([[6, 0, 0], [12, 0, 0], [0, 0, 6]], (True, True, False), "linearly dependent"),
        ([2, 2, 1.9], True, "atoms per cubic Angstrom"),
        ([1.3, 1.3, 0], (True, True, False), "atoms per cubic Angstrom"),
        ([2e5, 9, 9], True, "Angstrom long"),
        ([1e200, 1e200, 1e200], True, "Angstrom long"),
        ([np.inf, 9, 9], True, "not finite"),
        ([np.nan, 9, 9], (True, False, False), "not finite"),
        ([9, 9, 0], True, "vector 2, which is zero"),
    ],
)
def test_cell_that_is_no_material_is_refused_at_once(cell: Any, pbc: Any, message: str) -> None:
    start = time.thread_time()
    with pytest.raises(InputError, match=message):
        read_atoms(in_cell(cell, pbc), CELLS)
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("atoms", [bulk("C"), bulk("Si"), graphene(), in_cell([4, 0, 0], (True, False, False))])
def test_materials_pass(atoms: Atoms) -> None:
    system = read_atoms(atoms, CELLS)
    assert system.cell is not None
    np.testing.assert_array_equal(system.pbc, atoms.pbc)
    np.testing.assert_allclose(system.cell[atoms.pbc] * BOHR, atoms.cell.array[atoms.pbc], atol=1e-12)


def test_lattice_counts_and_not_how_its_vectors_are_chosen() -> None:
    long = np.array([[1, 0, 0], [-7, 1, 0], [3, 11, 1]]) @ bulk("Si").cell.array
    assert len(read_atoms(Atoms("Si2", bulk("Si").positions, cell=long, pbc=True), CELLS)) == 2


@pytest.mark.parametrize("vector", [[0, 0, np.nan], [0, 0, 1e-30], [1e9, 0, 0], [3, 0, 0]])
def test_vector_of_a_direction_without_period_does_not_count(vector: list[float]) -> None:
    atoms = in_cell([[5, 0, 0], [0, 5, 0], [0, 0, 5]], (True, True, False))
    expected = read_atoms(atoms, CELLS).cell
    atoms.cell[2] = vector
    np.testing.assert_array_equal(read_atoms(atoms, CELLS).cell, expected)


def test_image_of_an_atom_that_coincides_with_another_is_found() -> None:
    atoms = Atoms("CO", [[0, 0, 0], [3.95, 0.03, 0]], cell=[4, 4, 4], pbc=True)
    with pytest.raises(InputError, match=r"atoms 0 and 1 coincide: they, or images of them, are 0\.0583"):
        read_atoms(atoms, CELLS)
    with pytest.raises(InputError, match="atoms 0 and 2 coincide: they are 0 Angstrom"):
        read_atoms(Atoms("HOH", [[0, 0, 0], [1, 0, 0], [0, 0, 0]]), CELLS)


def test_many_atoms_need_no_table_of_all_distances() -> None:
    grid = 2.0 * np.stack(np.meshgrid(*[np.arange(40)] * 3), -1).reshape(-1, 3)  # 33 GB of distances
    assert len(read_atoms(Atoms(f"C{len(grid)}", grid), CELLS)) == 64_000
