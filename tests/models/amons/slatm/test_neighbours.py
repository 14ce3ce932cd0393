"""Pairs and triangles against loops over all atoms and images, and what is refused."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from ase_mlwave.models.amons.slatm import neighbours
from ase_mlwave.models.amons.slatm.neighbours import SlatmBatch, join_with_triangles
from ase_mlwave.units import BOHR
from tests.models.amons.slatm.systems import geometry, random_molecule

CUTOFF = 4.8 / BOHR


def lists(batch: SlatmBatch) -> tuple[list[tuple[int, ...]], list[tuple[int, frozenset[tuple[int, ...]]]]]:
    """Give pairs as (centre, neighbour, shift) and triangles as (centre, its two other ends), sorted."""
    shifts = torch.zeros(len(batch.first), 3) if batch.shifts is None else batch.shifts
    ends = [(j, *map(int, s)) for j, s in zip(batch.second.tolist(), shifts.tolist(), strict=True)]
    centres = batch.first.tolist()
    triangles = [(centres[i], frozenset((ends[i], ends[k]))) for i, k in zip(*batch.sides.tolist(), strict=True)]
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
    found = lists(join_with_triangles([geometry(atoms)], CUTOFF))
    expected = by_loops(atoms, images=8 if name == "outside of its cell" else 4)
    assert found == expected


def test_a_batch_has_the_lists_of_its_systems() -> None:
    systems = list(SYSTEMS.values())
    pairs, triangles = lists(join_with_triangles([geometry(atoms) for atoms in systems], CUTOFF))
    n_pairs, n_triangles = (sum(map(len, kind)) for kind in zip(*(by_loops(a, 8) for a in systems), strict=True))
    assert (len(pairs), len(triangles)) == (n_pairs, n_triangles)
    offsets = np.cumsum([0, *map(len, systems)])
    assert all(np.searchsorted(offsets, p[0], "right") == np.searchsorted(offsets, p[1], "right") for p in pairs)


def test_triangles_do_not_depend_on_how_many_are_tested_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    geometries = [geometry(atoms) for atoms in SYSTEMS.values()]
    whole = join_with_triangles(geometries, CUTOFF)
    monkeypatch.setattr(neighbours, "_CANDIDATES", 7)
    parts = join_with_triangles(geometries, CUTOFF)
    assert torch.equal(whole.sides, parts.sides)


def test_portions_cover_everything_once_and_in_order() -> None:
    batch = join_with_triangles([geometry(atoms) for atoms in SYSTEMS.values()], CUTOFF)
    portions = list(batch.portions(50))
    assert len(portions) > 3
    for column, size in enumerate((len(batch.numbers), len(batch.first), batch.sides.shape[1])):
        slices = [portion[column] for portion in portions]
        assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])]
        assert slices[-1].stop == size
    for atoms, pairs, triangles in portions:
        owners = batch.first[pairs]
        assert ((owners >= atoms.start) & (owners < atoms.stop)).all()
        sides = batch.sides[:, triangles]
        assert ((sides >= pairs.start) & (sides < pairs.stop)).all()


def test_coinciding_atoms_are_refused() -> None:
    atom, three = Atoms("H", [[1, 1, 1]]), Atoms("HCH", [[0, 0, 0], [9, 9, 9], [0, 0, 0]])
    with pytest.raises(ValueError, match="system 1: atoms 0 and 2 coincide"):
        join_with_triangles([geometry(atom), geometry(three)], CUTOFF)
