from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ase_mlwave.systems.system import System

WATER = System(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 1.4, 1.1], [0.0, -1.4, 1.1]]))
ICE = replace(WATER, cell=np.diag([9.0, 8.0, 7.0]), pbc=[True, True, False])


def test_system_converts_to_the_documented_types() -> None:
    system = System([1, 1], [[0, 0, 0], [0, 0, 1]], charge=np.int64(1), cell=np.eye(3, dtype=int), pbc=(1, 1, 1))  # type: ignore[arg-type]
    assert (system.numbers.dtype, system.positions.dtype) == (np.int64, np.float64)
    assert system.cell is not None
    assert system.pbc is not None
    assert (system.cell.dtype, system.pbc.dtype, type(system.charge)) == (np.float64, bool, int)
    assert (len(system), system.formula, system.n_electrons, system.n_periods) == (2, "H2", 1, 3)


def test_system_is_read_only_and_does_not_share_its_arrays() -> None:
    positions, cell = np.zeros((1, 3)), np.eye(3)
    system = System(np.array([1]), positions, cell=cell, pbc=np.array([True, True, True]))
    positions[0, 0] = cell[0, 0] = 5.0
    assert system.positions[0, 0] == 0.0
    assert system.cell is not None
    assert system.cell[0, 0] == 1.0
    for array in (system.numbers, system.positions, system.cell, system.pbc):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_only_periods_count() -> None:
    assert replace(WATER, cell=np.eye(3), pbc=False).cell is None
    assert (WATER.n_periods, ICE.n_periods) == (0, 2)
    tall = replace(ICE, cell=np.diag([9.0, 8.0, 70.0]))
    assert tall.geometry_hash() == ICE.geometry_hash() != WATER.geometry_hash()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": []}, "at least one atomic number"),
        ({"numbers": [0, 1, 1]}, r"atomic numbers from 1 to \d+ \(got 0\)"),
        ({"numbers": [8, 1, 1.5]}, "atomic numbers"),
        ({"positions": np.zeros((2, 3))}, r"positions must have the shape \(3, 3\) \(got \(2, 3\)\)"),
        ({"positions": np.full((3, 3), np.nan)}, "positions must be finite"),
        ({"spin": -1}, "cannot be negative"),
        ({"pbc": True}, "as many independent cell vectors"),
        ({"pbc": [True, True, False], "cell": np.ones((3, 3))}, "as many independent cell vectors"),
        ({"pbc": True, "cell": np.full((3, 3), np.inf)}, "cell must be finite"),
        ({"pbc": True, "cell": np.ones(3)}, "cell must have the shape"),
    ],
)
def test_broken_systems_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(WATER, **changes)


def test_geometry_hash_sees_elements_positions_charge_spin_and_cell_only() -> None:
    moved = WATER.positions.copy()
    moved[0, 0] = np.nextafter(0.0, 1.0)
    others = [
        replace(WATER, charge=1, spin=1),
        replace(WATER, spin=2),
        replace(WATER, numbers=[16, 1, 1]),
        replace(WATER, positions=moved),
        ICE,
        replace(ICE, cell=np.diag([9.0, 8.5, 7.0])),
        replace(ICE, pbc=[True, False, False]),
    ]
    assert len({system.geometry_hash() for system in (WATER, *others)}) == 1 + len(others)


def test_negative_zero_is_zero_to_the_hash() -> None:
    assert replace(WATER, positions=-1.0 * (-WATER.positions)).geometry_hash() == WATER.geometry_hash()
