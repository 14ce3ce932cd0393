from __future__ import annotations

from collections import Counter

import pytest

from ase_mlwave.amons.kekule import Edge, double_bonds


def ring(n: int) -> list[Edge]:
    return [Edge(i, i, (i + 1) % n) for i in range(n)]


def check(edges: list[Edge], missing: list[int]) -> tuple[int, ...]:
    """Every atom got what it missed, but for the unpaired ones."""
    added, unpaired = double_bonds(edges, missing)
    got: Counter[int] = Counter()
    for edge in edges:
        got[edge.i] += added.get(edge.index, 0)
        got[edge.j] += added.get(edge.index, 0)
    assert [got[atom] + (atom in unpaired) for atom in range(len(missing))] == missing
    return unpaired


@pytest.mark.parametrize("n", [4, 6, 10])
def test_even_ring_has_a_structure(n: int) -> None:
    assert check(ring(n), [1] * n) == ()


def test_odd_ring_keeps_one_electron() -> None:
    assert len(check(ring(5), [1] * 5)) == 1


def test_triple_bond_and_cumulated_bonds() -> None:
    chain = [Edge(0, 0, 1), Edge(1, 1, 2)]
    assert double_bonds(chain[:1], [2, 2]) == ({0: 2}, ())
    assert double_bonds(chain, [1, 2, 1]) == ({0: 1, 1: 1}, ())


def test_preferred_edges_are_used_first() -> None:
    assert double_bonds(ring(6), [1] * 6)[0] == {0: 1, 2: 1, 4: 1}
    assert double_bonds([ring(6)[i] for i in (5, 1, 3, 0, 2, 4)], [1] * 6)[0] == {1: 1, 3: 1, 5: 1}


def test_two_bonds_between_the_same_atoms_are_told_apart() -> None:
    assert double_bonds([Edge(7, 0, 1), Edge(4, 0, 1)], [1, 1]) == ({7: 1}, ())


def test_lonely_atom_is_unpaired() -> None:
    assert double_bonds([Edge(0, 0, 1)], [0, 1]) == ({}, (1,))


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="no bond orders fit"):
        double_bonds([], [3])
