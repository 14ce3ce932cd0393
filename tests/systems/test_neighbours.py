"""Pairs against loops over all atoms and images and against ASE's; the skin against none."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray

from ase_mlwave.systems import neighbours
from ase_mlwave.systems.neighbours import NeighbourList, Pairs, find_pairs
from ase_mlwave.systems.system import System

CUBE = np.diag([3.0, 3.5, 4.0])
SKEW = np.array([[3.0, 0.0, 0.0], [2.5, 2.0, 0.0], [1.3, 1.0, 2.4]])
TURN = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
CELLS = {
    "molecule": (None, (False, False, False)),
    "cube": (CUBE, (True, True, True)),
    "triclinic": (SKEW, (True, True, True)),
    "slab": (SKEW, (True, True, False)),
    "slab on its side": (CUBE, (True, False, True)),
    "chain": (SKEW, (False, False, True)),
    "turned slab": (SKEW @ TURN, (False, True, True)),
    "turned chain": (CUBE @ TURN, (False, True, False)),
}


def system(n_atoms: int, cell: NDArray[np.float64] | None, pbc: tuple[bool, bool, bool], seed: int = 0) -> System:
    """Atoms here and there, many of them outside of the cell."""
    positions = np.random.default_rng(seed).normal(scale=3.0, size=(n_atoms, 3))
    return System(np.full(n_atoms, 6), positions, cell=cell, pbc=np.array(pbc))


def listed(pairs: Pairs) -> list[tuple[int, ...]]:
    shifts = np.zeros((len(pairs), 3), dtype=np.int64) if pairs.shifts is None else pairs.shifts
    return [tuple(row) for row in np.column_stack([pairs.first, pairs.second, shifts[:, ::-1]]).tolist()]


@pytest.mark.parametrize("cutoff", [1.5, 5.0])
@pytest.mark.parametrize("n_atoms", [1, 4])
@pytest.mark.parametrize("name", CELLS)
def test_pairs_are_those_of_loops_over_images(name: str, n_atoms: int, cutoff: float) -> None:
    cell, pbc = CELLS[name]
    one = system(n_atoms, cell, pbc)
    expected = []
    for shift in product(*(range(-9, 10) if period else (0,) for period in pbc)):
        offset = np.zeros(3) if cell is None else np.array(shift) @ cell
        apart = np.linalg.norm(one.positions[None] - one.positions[:, None] + offset, axis=2)
        near = np.argwhere(apart < cutoff).tolist()
        expected += [(i, j, *shift[::-1]) for i, j in near if i != j or any(shift)]
    assert listed(find_pairs(one, cutoff)) == sorted(expected)


@pytest.mark.parametrize("name", CELLS)
def test_pairs_are_those_of_ase(name: str) -> None:
    cell, pbc = CELLS[name]
    scale = 4.0
    one = system(200, None if cell is None else scale * cell, pbc)
    box = np.eye(3) if one.cell is None else np.where(np.array(pbc)[:, None], one.cell, np.eye(3))
    i, j, shifts, vectors = primitive_neighbor_list("ijSD", pbc, box, one.positions, 5.0)
    pairs = find_pairs(one, 5.0)
    order = np.lexsort((*shifts.T, j, i))
    assert len(pairs) == len(i) > 0
    assert listed(pairs) == [tuple(row) for row in np.column_stack([i, j, shifts[:, ::-1]])[order].tolist()]
    np.testing.assert_allclose(pairs.vectors(one), vectors[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("away", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("cutoff", [0.2, 2.0, 10.0])
@pytest.mark.parametrize("cell", [None, np.diag([4.0, 0.0, 0.0]), np.diag([4.0, 4.0, 0.0])], ids=["0d", "1d", "2d"])
def test_atoms_may_be_far_apart(
    cell: NDArray[np.float64] | None, cutoff: float, away: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their boxes once were more than there are numbers, or none."""
    monkeypatch.setattr(neighbours, "_FEW_ATOMS", 0)
    pair = np.array([[0.0, 0.0, 0.0], [0.05, 0.1, 0.0]])
    pbc = np.array([cell is not None, cell is not None and bool(cell[1, 1]), False])
    alone = System(np.ones(2), pair, cell=cell, pbc=pbc)
    expected = find_pairs(alone, cutoff)
    for distance in (30.0, 700.0, 1e4, 1e6):
        positions = np.vstack([pair, pair + distance * np.array(away) * ~pbc])
        if (np.array(away) * ~pbc).any():
            both = find_pairs(System(np.ones(4), positions, cell=cell, pbc=pbc), cutoff)
            assert len(both) == 2 * len(expected)
            assert {*both.first[both.second < 2].tolist()} == {0, 1}


@pytest.mark.parametrize("turn", [np.eye(3), TURN], ids=["along axes", "turned"])
@pytest.mark.parametrize("name", ["chain", "slab", "cube"])
def test_atoms_may_be_many_periods_apart(name: str, turn: NDArray[np.float64]) -> None:
    cell, pbc = CELLS[name]
    assert cell is not None
    one = system(5, cell @ turn, pbc)
    away = np.random.default_rng(1).integers(-300_000, 300_000, size=(5, 3)) * np.array(pbc)
    pairs, far = find_pairs(one, 4.0), replace(one, positions=one.positions + away @ (cell @ turn))
    found = find_pairs(far, 4.0)
    assert pairs.shifts is not None
    assert found.shifts is not None
    home = found.shifts + away[found.second] - away[found.first]
    order = np.lexsort((*home.T, found.second, found.first))
    np.testing.assert_array_equal(found.first[order], pairs.first)
    np.testing.assert_array_equal(home[order], pairs.shifts)


def test_boxes_that_are_few_after_all_cuts_are_not_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice a number cut to a whole one, and a product of it cut again, once left no box: the process died."""
    monkeypatch.setattr(neighbours, "_FEW_ATOMS", 0)
    rng = np.random.default_rng(0)
    for extent in 10 ** rng.uniform(-1.0, 6.0, size=(300, 3)):
        pair = System(np.ones(2), np.vstack([np.zeros(3), extent]))
        assert not len(find_pairs(pair, 0.09))


def test_wide_sheets_are_searched() -> None:
    grid = np.stack(np.meshgrid(np.arange(170), np.arange(170), 0.0), -1).reshape(-1, 3)
    sheet = System(np.ones(len(grid)), 2.0 * grid)
    assert not len(find_pairs(sheet, 1.0))
    assert len(find_pairs(sheet, 2.1)) == 4 * 170 * 169


def test_an_atom_alone_has_no_neighbours() -> None:
    assert not len(find_pairs(System(np.array([1]), np.zeros((1, 3))), 10.0))


@pytest.mark.parametrize("name", CELLS)
def test_a_skin_changes_nothing(name: str) -> None:
    """A walk through many rebuilds; pairs are the same, in the same order."""
    cell, pbc = CELLS[name]
    one = system(30, None if cell is None else 3.0 * cell, pbc)
    listing, rng = NeighbourList(skin=1.0), np.random.default_rng(1)
    for _ in range(30):
        one = replace(one, positions=one.positions + rng.normal(scale=0.04, size=(30, 3)))
        assert listed(listing.find_pairs(one, 4.0)) == listed(find_pairs(one, 4.0))
    assert 2 <= listing.n_searches <= 10


def test_the_search_is_repeated_only_where_it_must_be() -> None:
    one = system(5, 3.0 * CUBE, (True, True, True))
    listing = NeighbourList(skin=1.0)

    def searches(changed: System) -> bool:
        before = listing.n_searches
        assert listed(listing.find_pairs(changed, 4.0)) == listed(find_pairs(changed, 4.0))
        return listing.n_searches > before

    step = np.zeros((5, 3))
    step[3, 2] = 0.4
    assert searches(one)
    assert not searches(replace(one, positions=one.positions + step, charge=1))
    assert searches(replace(one, positions=one.positions + 1.3 * step))
    assert searches(one)
    assert searches(replace(one, cell=3.01 * CUBE))
    assert searches(replace(one, pbc=np.array([True, True, False])))
    assert searches(replace(one, cell=None, pbc=None))
    assert searches(System(np.full(5, 7), one.positions))
    assert searches(System(one.numbers[:4], one.positions[:4]))


def test_one_list_serves_shorter_cutoffs_and_stays_behind_when_copied() -> None:
    one = system(30, 3.0 * CUBE, (True, True, True))
    listing = NeighbourList(skin=1.0)
    for cutoff in (4.0, 2.0, 4.5, 5.5, 4.0):
        assert listed(listing.find_pairs(one, cutoff)) == listed(find_pairs(one, cutoff))
    assert listing.n_searches == 2
    for twin in (copy.deepcopy(listing), pickle.loads(pickle.dumps(listing))):
        assert (twin.skin, twin.n_searches) == (1.0, 0)
