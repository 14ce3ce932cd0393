from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.data.database import DatasetFile, write_database
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record

RNG = np.random.default_rng(0)


def record(split: str, **changes: object) -> Record:
    given: dict[str, object] = {"positions": RNG.normal(size=(3, 3)), "energy": -76.0, "info": {"split": split}}
    return Record(numbers=np.array([8, 1, 1]), **{**given, **changes})  # type: ignore[arg-type]


def merge(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["merge", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def first(tmp_path: Path) -> Dataset:
    """Write a data set of two molecules to ``first.db``, with settings of its level."""
    dataset = Dataset((record("train"), record("test")), "pbe/def2-svp", "first")
    write_database(tmp_path / "first.db", dataset, {"grid_level": 3})
    return dataset


def test_data_sets_are_joined(first: Dataset, tmp_path: Path) -> None:
    again = read_dataset(tmp_path / "first.db")[0]
    second = Dataset((again, record("train", matrices={"overlap": np.eye(2)})), "pbe/def2-svp", "second")
    write_database(tmp_path / "second.db", second, {"grid_level": 3})
    code, out, messages = merge(tmp_path / "first.db", tmp_path / "second.db", tmp_path / "both.db")
    assert (code, out) == (0, ""), messages
    both = read_dataset(tmp_path / "both.db")
    assert (len(both), both.level, both.settings) == (3, "pbe/def2-svp", {"grid_level": 3})
    assert both.splits == {"train": 2, "test": 1}
    assert both[2].matrices.keys() == {"overlap"}
    lines = messages.splitlines()
    assert lines[0].startswith(f"{tmp_path}/first.db: 2 structures, 2 energies")
    assert "1 record is a copy of others" in lines[2]
    assert lines[3].startswith(f"-> {tmp_path}/both.db: 3 structures")


@pytest.mark.parametrize("name", ["both.db", "both.extxyz"])
def test_copies_are_merged_whatever_is_written(name: str, first: Dataset, tmp_path: Path) -> None:
    code, _, messages = merge(tmp_path / "first.db", tmp_path / "first.db", tmp_path / name)
    assert code == 0, messages
    assert "2 records are copies of others" in messages
    assert len(read_dataset(tmp_path / name)) == 2


def test_files_of_others_are_joined_and_divided(first: Dataset, tmp_path: Path) -> None:
    frames = [molecule("H2O", info={"my_energy": -76.1}), molecule("H2O", info={"my_energy": -76.2})]
    frames[1].rattle(0.1)
    ase.io.write(tmp_path / "mine.extxyz", frames)
    options = ("--energy-key", "my_energy", "--units", "Hartree", "--level", "pbe/def2-svp")
    code, _, messages = merge(tmp_path / "mine.extxyz", tmp_path / "mine.db", *options)
    assert code == 0, messages
    arguments = (tmp_path / "first.db", tmp_path / "mine.db", tmp_path / "all.extxyz", "--split", "train=0.5,test=0.5")
    code, _, messages = merge(*arguments)
    assert code == 0, messages
    joined = read_dataset(tmp_path / "all.extxyz")
    assert joined.splits in ({"train": 2, "test": 2}, {"test": 2, "train": 2})
    assert joined[2].energy == pytest.approx(-76.1)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"level": "hf/def2-svp"}, {}, "only data of one level of theory can be joined"),
        ({}, {"grid_level": 4}, "their settings differ: grid_level (3 and 4)"),
        ({"labels": True}, {"grid_level": 3}, "have one geometry, but their labels differ: energy by"),
        ({"split": True}, {"grid_level": 3}, "one is in the split 'train' and the other in 'valid'"),
    ],
)
def test_what_does_not_agree_is_not_joined(
    first: Dataset, tmp_path: Path, change: dict[str, object], settings: dict[str, int], message: str
) -> None:
    again = read_dataset(tmp_path / "first.db")[0]
    again = replace(again, energy=-70.0) if "labels" in change else again
    again = again.with_info(split="valid") if "split" in change else again
    write_database(tmp_path / "b.db", Dataset((again,), str(change.get("level", "pbe/def2-svp")), "b"), settings)
    code, _, messages = merge(tmp_path / "first.db", tmp_path / "b.db", tmp_path / "both.db")
    assert code == 2
    assert message in messages
    assert not (tmp_path / "both.db").exists()


def test_an_existing_file_is_not_overwritten(first: Dataset, tmp_path: Path) -> None:
    assert merge(tmp_path / "first.db", tmp_path / "first.db")[0] == 2
    assert DatasetFile(tmp_path / "first.db").counts()["labelled"] == 2


def test_molecules_without_a_label_are_left_out(tmp_path: Path) -> None:
    """After merging: a copy may have it."""
    bare, other = record("train"), record("test")
    labelled = replace(bare, forces=np.zeros((3, 3)))
    for name, records in (("first", (bare, other)), ("second", (labelled,))):
        write_database(tmp_path / f"{name}.db", Dataset(records, "pbe/def2-svp", name))
    code, _, messages = merge(tmp_path / "first.db", tmp_path / "second.db", tmp_path / "out.db", "--having", "forces")
    assert code == 0, messages
    (kept,) = read_dataset(tmp_path / "out.db")
    assert kept.geometry_hash() == bare.geometry_hash()
    assert kept.forces is not None
