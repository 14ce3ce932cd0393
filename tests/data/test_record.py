from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ase_mlwave.data.record import Dataset, Record

WATER = Record(
    numbers=np.array([8, 1, 1]),
    positions=np.array([[0.0, 0.0, 0.0], [0.0, 1.4, 1.1], [0.0, -1.4, 1.1]]),
    energy=-76.0,
    forces=np.zeros((3, 3)),
    matrices={"hamiltonian": np.diag([1.0, 2.0])},
    info={"split": "train"},
)


def test_record_converts_to_the_documented_types() -> None:
    record = Record(numbers=[1, 1], positions=[[0, 0, 0], [0, 0, 1]], energy=np.float32(-1))  # type: ignore[arg-type]
    assert record.numbers.dtype == np.int64
    assert record.positions.dtype == np.float64
    assert type(record.energy) is float
    assert len(record) == 2
    assert record.formula == "H2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy": np.inf}, "energy must be finite"),
        ({"forces": np.zeros((3, 2))}, "forces must have the shape"),
        ({"dipole": np.zeros(2)}, r"dipole must have the shape \(3,\)"),
        ({"matrices": {"overlap": np.zeros((2, 3))}}, "matrix 'overlap' must have the shape"),
        ({"matrices": {"overlap": np.array([[1.0, 0.1], [0.0, 1.0]])}}, "must be symmetric"),
    ],
)
def test_broken_records_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(WATER, **changes)


def test_hashes_are_those_of_older_files() -> None:
    """They are keys of databases and claims: computed with the first version of the package."""
    assert WATER.geometry_hash() == "c7ac88151e8bc963d3733235727ba2cc2705b885a60333585d89f007b7ddd0bd"
    assert WATER.content_hash() == "fb2bafd915959db94fc9346ff9f368bfcf4ab54424457011e693bff5383b6840"


def test_content_hash_sees_every_label_but_not_info() -> None:
    assert WATER.with_info(split="test").content_hash() == WATER.content_hash()
    known = {WATER.content_hash()}
    for other in (
        replace(WATER, energy=-76.1),
        replace(WATER, forces=None),
        replace(WATER, dipole=np.zeros(3)),
        replace(WATER, matrices={"overlap": WATER.matrices["hamiltonian"]}),
        replace(WATER, matrices={"hamiltonian": np.diag([1.0, 2.5])}),
    ):
        assert other.content_hash() not in known
        known.add(other.content_hash())


def test_unlabelled_records_have_no_labels() -> None:
    assert replace(WATER, dipole=np.zeros(3)).labels.keys() == {"energy", "forces", "dipole"}
    bare = WATER.unlabelled()
    assert (bare.labels, bare.matrices, bare.info) == ({}, {}, WATER.info)


def test_dataset_hash_depends_on_level_and_order() -> None:
    other = replace(WATER, energy=-75.0)
    hashes = {
        Dataset((WATER, other), "pbe/def2-svp", "a").content_hash(),
        Dataset((other, WATER), "pbe/def2-svp", "a").content_hash(),
        Dataset((WATER, other), "hf/def2-svp", "a").content_hash(),
    }
    assert len(hashes) == 3
    assert Dataset((WATER, other), "pbe/def2-svp", "b").content_hash() in hashes


def test_split_selects_and_names_what_there_is() -> None:
    dataset = Dataset((WATER, WATER.with_info(split="test"), WATER), "pbe/def2-svp", "waters")
    assert len(dataset) == len(list(dataset)) == 3
    assert dataset[1].info["split"] == "test"
    assert dataset.splits == {"train": 2, "test": 1}
    assert len(dataset.split("train")) == 2
    with pytest.raises(KeyError, match=r"waters has no split 'valid': it has 'train' \(2\), 'test' \(1\)"):
        dataset.split("valid")
    with pytest.raises(KeyError, match="carry no split"):
        Dataset((replace(WATER, info={}),), "", "bare").split("train")


def test_datasets_of_one_level_add_up() -> None:
    other = replace(WATER, energy=-75.0)
    bare = Dataset((replace(WATER, energy=None, forces=None, matrices={}),), "", "bare")
    one = Dataset((WATER,), "pbe/def2-svp", "one", {"grid_level": 3}, ("noted",))
    both = one + Dataset((other,), "pbe/def2-svp", "two", {"grid_level": 3})
    assert [record.energy for record in both] == [-76.0, -75.0]
    assert (both.level, both.source, both.settings, both.notes) == (
        "pbe/def2-svp",
        "one, two",
        {"grid_level": 3},
        ("noted",),
    )
    for joined in (one + bare, bare + one):  # what has no labels goes with any level
        assert (joined.level, joined.settings) == ("pbe/def2-svp", {"grid_level": 3})
    assert (one + Dataset((other,), "pbe/def2-svp", "two")).settings == {}  # not known of both
    with pytest.raises(ValueError, match="one is at pbe/def2-svp and two is at an unknown level"):
        one + Dataset((other,), "", "two")
    with pytest.raises(
        ValueError, match=r"their settings differ: density_fit \('not set' and True\), grid_level \(3 and 4\)"
    ):
        one + Dataset((other,), "pbe/def2-svp", "two", {"grid_level": 4, "density_fit": True})


def test_matrices_are_those_of_the_same_geometries() -> None:
    bare, elsewhere = replace(WATER, matrices={}, energy=-76.3), replace(WATER, positions=1.1 * WATER.positions)
    high = Dataset((bare, elsewhere), "ccsd(t)/cc-pvdz", "high")
    joined = high.with_matrices(Dataset((WATER,), "hf/cc-pvdz", "low"))
    assert (joined.level, joined[0].energy) == ("ccsd(t)/cc-pvdz", -76.3)
    np.testing.assert_array_equal(joined[0].matrices["hamiltonian"], WATER.matrices["hamiltonian"])
    assert joined[1] is elsewhere


def test_data_with_and_without_the_response_of_the_grid_are_joined_with_a_word() -> None:
    """Energies and matrices are the same; the forces' name is that of the lesser claim."""
    old = Dataset((WATER,), "pbe/def2-svp grid_response=false", "old", {"grid_level": 3, "grid_response": False})
    new = Dataset((WATER,), "pbe/def2-svp", "new", {"grid_level": 3, "grid_response": True})
    for one, other in ((old, new), (new, old)):
        with pytest.warns(UserWarning, match=f"only one of {one.source} and {other.source} has forces with the resp"):
            both = one + other
        assert (both.level, both.settings) == (old.level, old.settings)
    finer = Dataset((WATER,), "pbe/def2-svp grid_level=4", "finer")
    with pytest.raises(ValueError, match="only data of one level"):
        old + finer
