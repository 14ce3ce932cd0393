"""Pairs and triangles against loops over all atoms and images, and what is refused."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from ase_mlwave.models.amons.slatm import neighbours
from ase_mlwave.models.amons.slatm.neighbours import SlatmBatch
from tests.models.amons.slatm.systems import geometry, random_molecule, slatm


def joined(*systems: Atoms) -> SlatmBatch:
    """Join systems as the representation does."""
    return slatm("H", "He", "B", "C", "N", "Na", "Si", "Cl").collate([geometry(atoms) for atoms in systems])


def lists(batch: SlatmBatch) -> tuple[list[tuple[int, ...]], list[tuple[int, frozenset[tuple[int, ...]]]]]:
    """Give pairs as (centre, neighbour, shift) and triangles as (centre, its two other ends), sorted."""
    shifts = torch.zeros(len(batch.first), 3) if batch.shifts is None else batch.shifts
    ends = [(j, *map(int, s)) for j, s in zip(batch.second.tolist(), shifts.tolist(), strict=True)]
    centres = batch.first.tolist()
    triangles = [(centres[i], frozenset((ends[i], ends[k]))) for i, k in zip(*batch.sides[:2].tolist(), strict=True)]
    pairs = [(i, *end) for i, end in zip(centres, ends, strict=True)]
    return sorted(pairs), sorted(triangles, key=lambda t: (t[0], sorted(t[1])))


def by_loops(atoms: Atoms, images: int = 4) -> tuple[list[tuple[int, ...]], list[tuple[int, frozenset]]]:
    """Find the same by trying everything, Angstrom."""
    ranges = [range(-images, images + 1) if p else range(1) for p in atoms.pbc]
    points = [
        ((j, *shift), atoms.positions[j] + np.array(shift) @ atoms.cell.array)
        for shift in product(*ranges)
        for j in range(len(atoms))
    ]
    pairs, triangles = [], []
    for i, centre in enumerate(atoms.positions):
        near = [(end, p) for end, p in points if 0 < np.linalg.norm(p - centre) <= 4.8]
        pairs += [(i, *end) for end, _ in near]
        triangles += [
            (i, frozenset((one, two))) for (one, p), (two, q) in combinations(near, 2) if np.linalg.norm(p - q) <= 4.8
        ]
    return sorted(pairs), sorted(triangles, key=lambda t: (t[0], sorted(t[1])))


SYSTEMS = {
    "molecule": random_molecule(("H", "C"), 14, seed=1, side=7.0),
    "atom": Atoms("He"),
    "primitive silicon": bulk("Si"),
    "outside of its cell": Atoms("NaCl", positions=[[0, 0, 0], [9.0, -7.1, 3.2]], cell=[3.0, 3.4, 3.9], pbc=True),
    "slanted chain": Atoms(
        "CH", positions=[[0, 0, 0], [0.5, 1, 0]], cell=[[2.4, 1, 0], [0] * 3, [0] * 3], pbc=[1, 0, 0]
    ),
    "layer": Atoms(
        "BN", positions=[[0, 0, 0], [0, 1.45, 0.3]], cell=[[2.5, 0, 0], [1.2, 2.2, 0], [0] * 3], pbc=[1, 1, 0]
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_lists_are_complete(name: str) -> None:
    atoms = SYSTEMS[name]
    found = lists(joined(atoms))
    expected = by_loops(atoms, images=8 if name == "outside of its cell" else 4)
    assert found == expected


def test_a_batch_has_the_lists_of_its_systems() -> None:
    systems = list(SYSTEMS.values())
    pairs, triangles = lists(joined(*systems))
    n_pairs, n_triangles = (sum(map(len, kind)) for kind in zip(*(by_loops(a, 8) for a in systems), strict=True))
    assert (len(pairs), len(triangles)) == (n_pairs, n_triangles)
    offsets = np.cumsum([0, *map(len, systems)])
    assert all(np.searchsorted(offsets, p[0], "right") == np.searchsorted(offsets, p[1], "right") for p in pairs)


def test_triangles_do_not_depend_on_how_many_are_tested_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = joined(*SYSTEMS.values())
    monkeypatch.setattr(neighbours, "_CANDIDATES", 7)
    parts = joined(*SYSTEMS.values())
    assert torch.equal(whole.sides, parts.sides)


def test_third_sides_lie_between_the_ends_of_the_others() -> None:
    batch = joined(*SYSTEMS.values())
    first, second, third = batch.vectors()[batch.sides]
    torch.testing.assert_close(third, second - first, rtol=0, atol=1e-12)
    assert torch.equal(batch.first[batch.sides[2]], batch.second[batch.sides[0]])


def test_coinciding_atoms_are_refused() -> None:
    atom, three = Atoms("H", [[1, 1, 1]]), Atoms("HCH", [[0, 0, 0], [9, 9, 9], [0, 0, 0]])
    with pytest.raises(ValueError, match="system 1: atoms 0 and 2 coincide"):
        joined(atom, three)
