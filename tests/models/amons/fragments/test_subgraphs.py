from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ase_mlwave.models.amons.fragments.subgraphs import connected_subgraphs, rings


def is_connected(nodes: tuple[int, ...], neighbours: list[list[int]]) -> bool:
    reached, border = set(), {nodes[0]}
    while border:
        reached |= border
        border = {other for node in border for other in neighbours[node] if other in nodes} - reached
    return reached == set(nodes)


@pytest.mark.parametrize("seed", range(5))
def test_every_connected_subgraph_comes_once(seed: int) -> None:
    generator = np.random.default_rng(seed)
    bonds = [(i, j) for i, j in combinations(range(9), 2) if generator.random() < 0.3]
    neighbours = [[j for i, j in bonds if i == n] + [i for i, j in bonds if j == n] for n in range(9)]
    found = list(connected_subgraphs(neighbours, 5))
    expected = {
        nodes for size in range(1, 6) for nodes in combinations(range(9), size) if is_connected(nodes, neighbours)
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_rings_leave_out_the_union_of_two_smaller_ones() -> None:
    bicyclobutane = [[1, 2, 3], [0, 2], [0, 1, 3], [0, 2]]
    assert rings(bicyclobutane) == (frozenset({0, 1, 2}), frozenset({0, 2, 3}))


def test_rings_of_a_cube_are_its_faces() -> None:
    corners = [[i ^ 1, i ^ 2, i ^ 4] for i in range(8)]
    found = rings(corners)
    assert [len(ring) for ring in found] == [4] * 6 + [6] * (len(found) - 6)
    assert frozenset({0, 1, 2, 3}) in found
