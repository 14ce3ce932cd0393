from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene, molecule
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list

from ase_mlwave.models.amons.fragments.bond_orders import Edge, LewisStructure, NoLewisStructureError, lewis_structure


def solved(symbols: str, bonds: list[tuple[int, int]], charge: int = 0) -> LewisStructure:
    """Solve for atoms given as a word of one-letter symbols."""
    return lewis_structure([atomic_numbers[s] for s in symbols], [Edge(i, j) for i, j in bonds], charge)


def of_sheet(atoms: Atoms) -> tuple[list[int], list[Edge]]:
    firsts, seconds, shifts = neighbor_list("ijS", atoms, 1.6)
    pairs = zip(firsts.tolist(), seconds.tolist(), shifts.tolist(), strict=True)
    return atoms.numbers.tolist(), [Edge(i, j) for i, j, shift in pairs if (j, shift) > (i, [0, 0, 0])]


def valences(numbers: list[int], edges: list[Edge], found: LewisStructure) -> list[int]:
    sums: Counter[int] = Counter()
    for edge, order in zip(edges, found.orders, strict=True):
        sums[edge.i] += order
        sums[edge.j] += order
    return [sums[atom] for atom in range(len(numbers))]


@pytest.mark.parametrize(
    ("symbols", "bonds", "orders", "charges"),
    [
        ("CO", [(0, 1)], (3,), (-1, 1)),
        ("OOO", [(0, 1), (1, 2)], (2, 1), (0, 1, -1)),
        ("NNO", [(0, 1), (1, 2)], (3, 1), (0, 1, -1)),
        ("HNNN", [(0, 1), (1, 2), (2, 3)], (1, 2, 2), (0, 0, 1, -1)),
        ("OSO", [(0, 1), (1, 2)], (2, 2), (0, 0, 0)),
        ("SCS", [(0, 1), (1, 2)], (2, 2), (0, 0, 0)),
        ("NN", [(0, 1)], (3,), (0, 0)),
    ],
)
def test_small_molecules_are_written_as_chemists_do(
    symbols: str, bonds: list[tuple[int, int]], orders: tuple[int, ...], charges: tuple[int, ...]
) -> None:
    found = solved(symbols, bonds)
    assert sorted(found.orders) == sorted(orders)
    assert sorted(found.charges) == sorted(charges)
    assert not any(found.unpaired)


def test_charge_goes_where_it_is_borne_best() -> None:
    assert solved("NCO", [(0, 1), (1, 2)], -1).charges == (0, 0, -1)
    assert solved("NHHHH", [(0, n) for n in range(1, 5)], 1).charges == (1, 0, 0, 0, 0)


def test_missing_hydrogens_are_unpaired_electrons() -> None:
    assert solved("CHHH", [(0, 1), (0, 2), (0, 3)]).unpaired == (1, 0, 0, 0)
    assert solved("O", []).unpaired == (2,)


@pytest.mark.parametrize(("symbols", "bonds"), [("HCC", [(0, 1), (0, 2)]), ("CHHHHH", [(0, n) for n in range(1, 6)])])
def test_too_many_neighbours_are_named(symbols: str, bonds: list[tuple[int, int]]) -> None:
    with pytest.raises(NoLewisStructureError, match=rf"more neighbours .*: {symbols[0]}0 \({len(bonds)}\)"):
        solved(symbols, bonds)


def test_impossible_charge_is_refused() -> None:
    with pytest.raises(NoLewisStructureError, match="add up to 3"):
        solved("HH", [(0, 1)], 3)


def test_short_bonds_are_double() -> None:
    ring = [Edge(i, (i + 1) % 8, 0.88 if i % 2 else 1.0) for i in range(8)]
    hydrogens = [Edge(i, 8 + i) for i in range(8)]
    assert lewis_structure([6] * 8 + [1] * 8, ring + hydrogens, 0).orders[:8] == (1, 2) * 4


@pytest.mark.parametrize("atoms", [molecule("C60"), graphene(size=(25, 25, 1))], ids=["fullerene", "sheet"])
def test_large_conjugated_systems_have_a_kekule_structure(atoms: Atoms) -> None:
    numbers, edges = of_sheet(atoms)
    found = lewis_structure(numbers, edges, 0)
    assert set(valences(numbers, edges, found)) == {4}
    assert not any(found.charges)


def test_lewis_structure_does_not_depend_on_the_order_of_atoms() -> None:
    """Cyclobutadieno-benzene with equal bonds: several structures of the same cost, not all of them alike."""
    bonds = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (5, 6), (6, 7), (7, 4)]
    bonds += [(carbon, 8 + n) for n, carbon in enumerate((0, 1, 2, 3, 6, 7))]
    numbers = [6] * 8 + [1] * 6
    kinds = set()
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(14)
        place = np.argsort(order)
        edges = [Edge(int(place[i]), int(place[j])) for i, j in np.random.default_rng(seed).permutation(bonds)]
        found = lewis_structure([numbers[atom] for atom in order], edges, 0)
        double = {
            frozenset((int(order[e.i]), int(order[e.j]))) for e, n in zip(edges, found.orders, strict=True) if n == 2
        }
        kinds.add(frozenset({4, 5}) in double)
        assert len(double) == 4
    assert len(kinds) == 1


def test_two_bonds_between_the_same_atoms_of_a_crystal_are_told_apart() -> None:
    chain = [Edge(0, 1, 1.0), Edge(0, 1, 0.85)]  # polyacetylene
    found = lewis_structure([6, 6, 1, 1], [*chain, Edge(0, 2), Edge(1, 3)], 0)
    assert found.orders == (1, 2, 1, 1)


def test_atom_bonded_to_its_own_image_has_single_bonds() -> None:
    found = lewis_structure([6, 1, 1], [Edge(0, 0), Edge(0, 1), Edge(0, 2)], 0)
    assert found == LewisStructure((1, 1, 1), (0, 0, 0), (0, 0, 0))
