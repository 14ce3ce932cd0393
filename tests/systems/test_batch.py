"""A batch is its systems one behind the other, with their own pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.systems.batch import SystemBatch, collate
from ase_mlwave.systems.neighbours import NeighbourList, find_pairs
from ase_mlwave.systems.system import System

CUTOFF = 5.0
SYSTEMS = [
    System(np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 1.4, 1.1], [0.0, -1.4, 1.1]])),
    System(np.array([14, 6]), np.array([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]), cell=4.1 * (1 - np.eye(3)), pbc=True),
    System(np.array([2]), np.zeros((1, 3))),
]


@pytest.mark.parametrize("chosen", [[0, 2], [0, 1, 2], [1], [2]])
def test_a_batch_is_its_systems(chosen: list[int]) -> None:
    systems = [SYSTEMS[index] for index in chosen]
    batch = collate(systems, CUTOFF)
    assert (batch.shifts is None) == (1 not in chosen)
    assert batch.n_atoms == tuple(map(len, systems))
    for owner, (system, rows) in enumerate(zip(systems, batch.split(torch.arange(len(batch.numbers))), strict=True)):
        own, pairs = batch.system[batch.first] == owner, find_pairs(system, CUTOFF)
        np.testing.assert_array_equal(batch.numbers[rows], system.numbers)
        np.testing.assert_array_equal(batch.positions[rows], system.positions)
        np.testing.assert_array_equal(batch.system[rows], owner)
        np.testing.assert_array_equal(batch.first[own] - rows[0], pairs.first)
        np.testing.assert_array_equal(batch.second[own] - rows[0], pairs.second)
        np.testing.assert_allclose(batch.vectors()[own], pairs.vectors(system), rtol=0, atol=1e-14)


def test_a_batch_keeps_its_pairs_and_follows_positions_and_cells() -> None:
    batch = collate(SYSTEMS, CUTOFF)
    grown = batch.at(1.5 * batch.positions, 1.5 * batch.cells)
    torch.testing.assert_close(grown.vectors(), 1.5 * batch.vectors())
    assert batch.at(batch.positions).cells is batch.cells


def test_everything_is_copied_to_a_device() -> None:
    moved: SystemBatch = collate(SYSTEMS, CUTOFF).to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 7
    assert all(tensor.device.type == "meta" for tensor in tensors)


def test_neighbours_are_remembered_of_single_systems() -> None:
    neighbours = NeighbourList()
    for _ in range(2):
        collate(SYSTEMS[:1], CUTOFF, neighbours)
        collate(SYSTEMS, CUTOFF, neighbours)
    assert neighbours.n_searches == 1
    with pytest.raises(ValueError, match="no system"):
        collate([], CUTOFF)
