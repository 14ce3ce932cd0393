from __future__ import annotations

import copy

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.domain.bonds import kinds_of_atoms
from ase_mlwave.models.domain.distance import DistanceFromTraining
from ase_mlwave.models.domain.limits import SURROUNDINGS_THRESHOLD
from ase_mlwave.models.domain.surroundings import describe
from ase_mlwave.systems.system import System

ELEMENTS = (1, 6, 7, 8)
TRAINED = [
    "CH3OH",
    "CH3CH2OH",
    "CH3OCH3",
    "CH3CH2OCH3",
    "H2CO",
    "CH3CHO",
    "CH3COCH3",
    "C2H6",
    "C3H8",
    "C2H4",
    "H3CNH2",
    "CH3CH2NH2",
    "CH3CONH2",
    "H2O",
]
TURN = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]


def shaken(name: str, seed: int, size: float = 0.05) -> Record:
    atoms = molecule(name)
    atoms.rattle(size, seed=seed)
    return record_from_atoms(atoms)


@pytest.fixture(scope="module")
def measure() -> DistanceFromTraining:
    measure = DistanceFromTraining(ELEMENTS, 40)
    measure.fit([shaken(name, seed) for name in TRAINED for seed in range(4)])
    return measure


@pytest.mark.parametrize("turn", [np.eye(3), TURN, -TURN], ids=["moved", "turned", "mirrored"])
def test_surroundings_turn_with_the_molecule(turn: np.ndarray) -> None:
    record = shaken("CH3CONH2", 1)
    order = np.random.default_rng(2).permutation(len(record))
    x = describe(record, ELEMENTS)
    positions = (record.positions @ turn.T + [3.0, -1.0, 9.0])[order]
    moved = describe(System(record.numbers[order], positions), ELEMENTS)
    np.testing.assert_allclose(moved, x[order], atol=1e-10)


def test_surroundings_of_an_isolated_atom_are_empty() -> None:
    assert not describe(System(np.array([8]), np.zeros((1, 3))), ELEMENTS).any()
    far = describe(System(np.array([8, 8]), np.array([[0, 0, 0], [30.0, 0, 0]])), ELEMENTS)
    assert not far.any()


def test_distance_grows_outside(measure: DistanceFromTraining) -> None:
    def distance(atoms: Atoms) -> float:
        record = record_from_atoms(atoms)
        return float(measure(record).max())

    known = shaken("CH3CH2OH", 99)
    inside = float(measure(known).max())
    pair = molecule("H2O")
    pair.translate([3.0, 0, 0])
    outside = {name: distance(molecule(name)) for name in ("CO2", "H2", "HCN", "N2")}
    outside["two waters"] = distance(molecule("H2O") + pair)
    squeezed = molecule("CH3OH")
    squeezed.positions *= 0.7
    outside["squeezed"] = distance(squeezed)
    assert inside < 0.9
    assert min(outside.values()) > 1.2, outside


def test_element_without_training_atoms_is_far(measure: DistanceFromTraining) -> None:
    alone = DistanceFromTraining(ELEMENTS, 8)
    alone.fit([shaken("H2O", seed) for seed in range(4)])
    record = shaken("CH3OH", 0)
    assert (alone(record)[record.numbers == 6] > 100).all()


def test_one_training_geometry_is_enough() -> None:
    alone = DistanceFromTraining((1, 8), 8)
    alone.fit([shaken("H2O", 0)])
    record = shaken("H2O", 0)
    assert alone(record).max() < 0.1


@pytest.mark.parametrize("shrink", [0.5, 0.4, 0.2, 0.05])
def test_atoms_in_one_another_are_far(measure: DistanceFromTraining, shrink: float) -> None:
    """However near: what is measured does not saturate."""
    for name in ("N2", "CO", "H2", "CH3OH"):
        atoms = molecule(name)
        atoms.positions *= shrink
        record = record_from_atoms(atoms)
        assert measure(record).max() > 1.8, name


def test_what_the_host_keeps_follows_the_buffers() -> None:
    measure = DistanceFromTraining((1, 8), 4)
    measure.fit([shaken("H2O", seed) for seed in range(6)])
    system = shaken("H2O", 9)
    before = measure(system)
    again = copy.deepcopy(measure)
    measure.unit *= 2.0
    np.testing.assert_allclose(measure(system), before / 2)
    measure.load_state_dict(again.state_dict())
    np.testing.assert_array_equal(measure(system), before)


def test_kinds_of_atoms_tell_groups_apart() -> None:
    """They follow the atoms, and know neither place nor shape; those of other groups are others."""
    record = shaken("CH3CH2OH", 1)
    kinds = kinds_of_atoms(record)
    order = np.random.default_rng(2).permutation(len(record))
    moved = System(record.numbers[order], (record.positions @ TURN.T + 5.0)[order])
    np.testing.assert_array_equal(kinds_of_atoms(moved), kinds[order])
    assert set(kinds_of_atoms(shaken("CH3CH2OH", 7))) == set(kinds)
    methyl, oxygen = kinds[record.numbers == 6], kinds[record.numbers == 8]
    assert set(methyl) & set(kinds_of_atoms(shaken("C2H6", 0)))
    assert not set(oxygen) & set(kinds_of_atoms(shaken("CH3OCH3", 0)))
    assert len(set(kinds_of_atoms(System(np.array([8]), np.zeros((1, 3)))))) == 1


def test_atoms_with_unknown_bonds_are_outside() -> None:
    """Those of a nitro group and a peroxide, beside atoms that are known; known molecules are as far as without."""
    records = [shaken(name, seed) for name in TRAINED for seed in range(4)]
    measure, without = DistanceFromTraining(ELEMENTS, 40, 64), DistanceFromTraining(ELEMENTS, 40)
    measure.fit(records)
    without.fit(records)
    np.testing.assert_array_equal(measure(shaken("CH3CH2OH", 99)), without(shaken("CH3CH2OH", 99)))
    nitro = shaken("CH3NO2", 0)
    assert (measure(nitro)[nitro.numbers > 6] >= 1.3).all()
    assert (measure(nitro) >= without(nitro)).all()
    assert measure(shaken("H2O2", 0)).max() > SURROUNDINGS_THRESHOLD


def test_the_most_frequent_kinds_are_kept() -> None:
    measure = DistanceFromTraining(ELEMENTS, 8, 2)
    measure.fit([shaken("H2O", seed) for seed in range(3)] + [shaken("CH3OH", 0)])
    assert set(measure.kinds.tolist()) == set(kinds_of_atoms(shaken("H2O", 9)))
