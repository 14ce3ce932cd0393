from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import InputError

from ase_mlwave.systems.checks import check_distances, check_molecule
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

WATER = System(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 1.4, 1.1], [0.0, -1.4, 1.1]]))


def test_atoms_and_images_that_coincide_are_named() -> None:
    check_distances(WATER)
    near = replace(WATER, positions=WATER.positions - [[0, 0, 0], [0, 0, 0], [0, -2.8, 0.09 / BOHR]])
    with pytest.raises(InputError, match=r"^atoms 1 and 2 of H2O coincide: they are 0\.09 Angstrom apart, and less"):
        check_distances(near, " of H2O")
    cell = replace(WATER, cell=np.diag([9.0, 2.85, 9.0]), pbc=True)
    with pytest.raises(InputError, match=r"^atoms 1 and 2 coincide: they, or images of them, are 0\.0265 Angstrom"):
        check_distances(cell)
    check_distances(replace(cell, cell=np.diag([9.0, 3.1, 9.0])))


def test_atoms_that_come_together_on_the_way_are_refused() -> None:
    chain = System(np.full(30, 6), np.arange(30)[:, None] * np.array([2.5, 0.0, 0.0]))
    contacts = NeighbourList(skin=1.0)
    for step in np.arange(0.0, 2.3, 0.2):
        check_distances(replace(chain, positions=chain.positions + step * np.eye(30, 3) * [1, 0, 0]), contacts=contacts)
    assert 2 <= contacts.n_searches <= 8
    with pytest.raises(InputError, match="atoms 0 and 1 coincide"):
        check_distances(replace(chain, positions=chain.positions + 2.4 * np.eye(30, 3) * [1, 0, 0]), contacts=contacts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spin": 1}, "H2O with charge 0 has 10 electrons, which cannot leave 1 unpaired"),
        ({"charge": 1}, "9 electrons, which cannot leave 0 unpaired"),
        ({"charge": 10}, "has 0 electrons"),
        ({"charge": 9, "spin": 3}, "1 electrons, which cannot leave 3 unpaired"),
    ],
)
def test_electrons_must_go_with_the_spin(changes: dict[str, Any], message: str) -> None:
    check_molecule(WATER)
    with pytest.raises(InputError, match=message):
        check_molecule(replace(WATER, **changes))
