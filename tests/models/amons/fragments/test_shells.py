from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.calculator import InputError

from ase_mlwave.models.amons.fragments.capping import CAP_LENGTHS
from ase_mlwave.models.amons.fragments.shells import shell_geometries
from ase_mlwave.units import BOHR


def boron_nitride(repeat: int = 1) -> Atoms:
    atoms = graphene("BN", a=2.504, size=(repeat, repeat, 1), vacuum=10.0)
    atoms.pbc = (True, True, False)
    return atoms


def bonds_of(positions: np.ndarray, longest: float) -> np.ndarray:
    distances = np.linalg.norm(positions[:, None] - positions, axis=2) * BOHR
    return np.asarray((distances < longest) & (distances > 0.1))


def test_shells_of_a_sheet_are_whole_rings() -> None:
    shells = shell_geometries(boron_nitride(), 2)
    assert {shell.formula: shell.info["n_heavy"] for shell in shells} == {
        "H6BN3": 4, "H6B3N": 4, "H8B3N3": 6, "H9B6N7": 13, "H9B7N6": 13, "H10B8N8": 16,
    }  # fmt: skip
    for shell in shells[-3:]:
        bonded = bonds_of(shell.positions[shell.numbers > 1], 1.6)
        n_atoms, n_bonds = len(bonded), int(bonded.sum() // 2)
        assert n_bonds - n_atoms + 1 == {13: 3, 16: 4}[n_atoms]  # rings
        apart = np.linalg.norm(shell.positions[:, None] - shell.positions, axis=2) * BOHR + 9 * np.eye(len(shell))
        assert apart.min() > 0.99


def test_shells_of_silicon_are_its_neighbours() -> None:
    shells = shell_geometries(bulk("Si", "diamond", a=5.431), 2)
    assert [shell.info["n_heavy"] for shell in shells] == [5, 8, 17, 26]
    for shell in shells:
        n_heavy = shell.info["n_heavy"]
        bonded = bonds_of(shell.positions, 2.5)
        assert (bonded[:n_heavy].sum(axis=1) >= 4).all()
        caps = shell.positions[n_heavy:]
        lengths = np.linalg.norm(caps[:, None] - shell.positions[:n_heavy], axis=2).min(axis=1)
        assert lengths == pytest.approx(CAP_LENGTHS[14])
        assert set(shell.info["query_atoms"]) == {0, 1}


def test_largest_size_is_kept() -> None:
    assert [s.info["n_heavy"] for s in shell_geometries(bulk("Si"), 2, max_heavy=8)] == [5, 8]


def test_dopants_are_named_and_double_bonds_stay_whole() -> None:
    atoms = boron_nitride(4)
    atoms.numbers[[0, 1]] = 6
    with_carbon = [shell for shell in shell_geometries(atoms, 1) if 6 in shell.numbers]
    assert with_carbon
    for shell in with_carbon:
        assert np.count_nonzero(shell.numbers == 6) == 2
        assert shell.spin == 0


def test_single_dopant_is_a_radical_that_must_be_allowed() -> None:
    atoms = boron_nitride(3)
    atoms.numbers[0] = 6
    with pytest.raises(InputError, match="unpaired electrons"):
        shell_geometries(atoms, 1)
    shells = shell_geometries(atoms, 1, allow_radicals=True)
    assert {shell.spin for shell in shells if 6 in shell.numbers} == {1}
    assert {shell.spin for shell in shells if 6 not in shell.numbers} == {0}


@pytest.mark.parametrize(
    ("atoms", "bonds", "message"), [(molecule("SiH4"), 1, "not periodic"), (bulk("Si"), 0, "is below 1")]
)
def test_wrong_input_is_refused(atoms: Atoms, bonds: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        shell_geometries(atoms, bonds)
