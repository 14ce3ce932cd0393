from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ase_mlwave.data.duplicates import combine, equal_geometries, merge_copies
from ase_mlwave.data.record import Record

RNG = np.random.default_rng(0)


def acetylene(**changes: Any) -> Record:
    given: dict[str, Any] = {"numbers": np.array([6, 6, 1, 1]), "positions": RNG.normal(size=(4, 3)), "energy": -77.0}
    return Record(**{**given, **changes})


def test_copies_are_found_however_they_lie() -> None:
    one = acetylene()
    turn = Rotation.random(random_state=0).as_matrix()
    order = [2, 1, 3, 0]
    same = [
        one,
        replace(one, energy=None, info={"index": 4}),
        replace(one, positions=one.positions @ turn.T - 2.0),
        replace(one, positions=one.positions * [1, 1, -1]),
        replace(one, numbers=one.numbers[order], positions=one.positions[order]),
        replace(one, positions=np.round(one.positions, 5)),
    ]
    moved = one.positions.copy()
    moved[0] += 1e-3
    others = [
        acetylene(),
        replace(one, positions=moved),
        replace(one, charge=1, spin=1),
        replace(one, numbers=one.numbers[[2, 1, 0, 3]]),  # elements exchanged, positions kept
    ]
    found = equal_geometries([*same, *others])
    assert len({*found[:6].tolist()}) == 1
    assert len({*found.tolist()}) == 5


def test_lone_atoms_of_an_element_are_one_geometry() -> None:
    atoms = [Record(numbers=np.array([z]), positions=RNG.normal(size=(1, 3))) for z in (1, 8, 1)]
    assert equal_geometries(atoms).tolist() == [0, 1, 0]
    assert equal_geometries([]).tolist() == []


def test_merging_unites_labels_and_says_what_is_lost() -> None:
    forces = RNG.normal(size=(4, 3))
    one = acetylene(info={"index": 1, "source": "a"})
    two = replace(one, energy=one.energy, forces=forces, dipole=np.ones(3), info={"index": 2, "split": "train"})
    merged = merge_copies([one, acetylene(), two], "here")
    assert len(merged.records) == 2
    assert merged.records[0].info == {"index": 1, "source": "a", "split": "train"}
    np.testing.assert_array_equal(merged.records[0].forces, forces)  # type: ignore[arg-type]
    assert merged.records[0].labels.keys() == {"energy", "forces", "dipole"}
    assert merged.in_words().startswith("1 record is a copy")
    assert merged.dropped == ("index",)
    assert merge_copies([one], "here").in_words() == ""
    assert merge_copies([], "here").records == ()


def test_copies_that_a_text_file_has_rounded_are_merged() -> None:
    one = acetylene()
    rounded = replace(one, positions=np.round(one.positions, 8), energy=-77.0 + 1e-8)
    moved = replace(one, positions=one.positions + 1e-5, energy=-76.9)  # a finite difference is no copy
    turned = replace(one, positions=-one.positions, energy=-76.9, matrices={"hamiltonian": np.eye(2)})
    merged = merge_copies([one, moved, rounded, turned], "here")
    assert [r.energy for r in merged.records] == [-77.0, -76.9, -76.9]
    with pytest.raises(ValueError, match="labels differ"):
        merge_copies([one, replace(rounded, energy=-76.9)], "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"energy": -77.1},
            r"records 0 and 1 of here \(C2H2\) have one geometry, but their labels differ: energy by 0.1",
        ),
        ({"forces": np.ones((4, 3))}, "forces by 1 Hartree/Bohr"),
        ({"dipole": np.ones(3)}, r"dipole by 1 e\*Bohr"),
        ({"matrices": {"hamiltonian": np.eye(3)}}, "matrix 'hamiltonian' by 1"),
        ({"info": {"split": "test"}}, "one is in the split 'train' and the other in 'test'"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    matrices = {"hamiltonian": np.zeros((3, 3))}
    one = acetylene(forces=np.zeros((4, 3)), dipole=np.zeros(3), matrices=matrices, info={"split": "train"})
    with pytest.raises(ValueError, match=message):
        merge_copies([one, replace(one, **changes)], "here")
    assert combine(one, replace(one, energy=-77.0 + 1e-9)).energy == one.energy
