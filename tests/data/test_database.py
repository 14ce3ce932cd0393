from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_mlwave.data.database import DatasetFile, read_database, write_database
from ase_mlwave.data.metadata import differ_in_forces_only, new_metadata
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.stores import store_at


def record(seed: int, **changes: Any) -> Record:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(7, 7))
    given: dict[str, Any] = {
        "numbers": np.array([8, 1, 1]),
        "positions": rng.normal(size=(3, 3)),
        "energy": rng.normal(),
        "forces": rng.normal(size=(3, 3)),
        "matrices": {"hamiltonian": matrix + matrix.T, "overlap": matrix @ matrix.T},
        "dipole": rng.normal(size=3),
    }
    return Record(**{**given, **changes})


def test_database_returns_what_was_written(tmp_path: Path) -> None:
    info = {
        "split": "train",
        "smiles": "O",
        "temperature": 300.0,
        "index": 4,
        "name": "0068",  # looks like a number, which ASE refuses as a key-value pair
        "converged": True,
        "history": [1, 2.5, "three"],
    }
    unrestricted = {"hamiltonian": np.array([np.diag([1.0, 2.0]), np.diag([3.0, 4.0])])}
    records = (record(0, info=info), record(1, charge=-1, spin=2), record(2, matrices=unrestricted))
    path = tmp_path / "data.db"
    write_database(path, Dataset(records, "pbe/def2-svp", "here"))
    dataset = read_database(path)
    assert dataset.level == "pbe/def2-svp"
    assert len(dataset) == 3
    for before, after in zip(records, dataset, strict=True):
        assert before.matrices.keys() == after.matrices.keys()
        for name, matrix in before.matrices.items():
            assert matrix.tobytes() == after.matrices[name].tobytes()
        assert np.array_equal(before.numbers, after.numbers)
        assert after.energy == pytest.approx(before.energy, rel=1e-15, abs=0)
        np.testing.assert_allclose(after.forces, before.forces, rtol=4e-16)  # type: ignore[arg-type]
        np.testing.assert_allclose(after.positions, before.positions, rtol=4e-16)
        np.testing.assert_allclose(after.dipole, before.dipole, rtol=4e-16)  # type: ignore[arg-type]
        assert (after.charge, after.spin) == (before.charge, before.spin)
        assert after.info == before.info


def test_ase_reads_the_standard_columns_in_its_units(tmp_path: Path) -> None:
    water = record(0, info={"split": "train"})
    write_database(tmp_path / "data.db", Dataset((water,), "pbe/def2-svp", "here"))
    row = connect(tmp_path / "data.db").get(split="train")
    assert row.energy == pytest.approx(water.energy * 27.211386245988, rel=1e-8)  # type: ignore[operator]
    np.testing.assert_allclose(row.positions, water.positions * 0.529177210903, rtol=1e-8)
    expected = water.forces * 27.211386245988 / 0.529177210903  # type: ignore[operator]
    np.testing.assert_allclose(row.forces, expected, rtol=1e-8)
    np.testing.assert_allclose(row.dipole, water.dipole * 0.529177210903, rtol=1e-8)  # type: ignore[operator]
    assert np.array_equal(row.data["matrices"]["hamiltonian"], water.matrices["hamiltonian"])


def test_ase_db_lists_the_file(tmp_path: Path) -> None:
    write_database(tmp_path / "data.db", Dataset((record(0), record(1)), "pbe/def2-svp", "here"))
    command = [sys.executable, "-m", "ase", "db", "data.db", "mlwave_status=labelled", "-c", "id,formula,mlwave_status"]
    listing = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert listing.count("H2O") == 2
    assert "labelled" in listing
    assert "Rows: 2" in listing


def test_rows_go_from_pending_to_labelled_or_failed(tmp_path: Path) -> None:
    file = DatasetFile.create(tmp_path / "data.db", "pbe/def2-svp", {"program": "pyscf"})
    bare = [replace(record(seed), energy=None, forces=None, matrices={}, info={"index": seed}) for seed in range(3)]
    assert file.add(bare) == 3
    assert file.add(bare) == 0  # nothing twice
    assert file.counts() == {"labelled": 0, "failed": 0, "pending": 3}
    assert len(file.read()) == 0
    rows = list(file.pending())
    file.store(rows[2], record(2, info={"index": 2}))
    file.fail(rows[0], bare[0], "SCFError: did not converge")
    again = DatasetFile(tmp_path / "data.db")
    assert again.counts() == {"labelled": 1, "failed": 1, "pending": 1}
    assert list(again.pending()) == [rows[1]]
    assert list(again.pending(retry_failed=True)) == rows[:2]
    assert [(failure.record.info["index"], failure.reason) for failure in again.failures()] == [
        (0, "SCFError: did not converge")
    ]
    assert [labelled.info["index"] for labelled in again.read()] == [2]
    assert again.metadata["level_settings"] == {"program": "pyscf"}
    assert again.add(bare) == 0  # a stored row is still known by its geometry


def test_some_molecules_are_read_by_an_entry(tmp_path: Path) -> None:
    file = DatasetFile.create(tmp_path / "data.db", "pbe/def2-svp", {})
    bare = [record(n, energy=None, forces=None, matrices={}, info={"kind": "abbc"[n], "n": n}) for n in range(4)]
    file.add(bare)
    for row, molecule in list(file.pending().items())[:3]:
        file.store(row, record(molecule.info["n"], info=molecule.info))
    assert [found.info["n"] for found in file.read_some("kind", {"b", "c"})] == [1, 2]  # the last has no label
    assert [found.info["n"] for found in file.read_some("n", {0, 7})] == [0]
    assert file.read_some("origin", {"b"}) == []


def test_a_file_without_a_level_gives_its_geometries(tmp_path: Path) -> None:
    bare = replace(record(0), energy=None, forces=None, matrices={})
    write_database(tmp_path / "data.db", Dataset((bare,), "", "sampled"))
    (after,) = read_database(tmp_path / "data.db")
    np.testing.assert_allclose(after.positions, bare.positions, rtol=4e-16)
    assert after.energy is None


def test_splits_are_assigned_to_labelled_rows(tmp_path: Path) -> None:
    file = write_database(tmp_path / "data.db", Dataset((record(0), record(1)), "pbe/def2-svp", "here"))
    file.add([replace(record(2), energy=None, forces=None, matrices={})])
    before = [r.content_hash() for r in file.read()]
    file.assign("split", ["test", "train"])
    after = DatasetFile(tmp_path / "data.db").read()
    assert [r.info["split"] for r in after] == ["test", "train"]
    assert [r.content_hash() for r in after] == before
    with pytest.raises(ValueError, match="has 2 labelled molecules, but 1 values"):
        file.assign("split", ["test"])


def change_metadata(path: Path, **changes: Any) -> None:
    db = connect(path)
    db.metadata = {**db.metadata, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format version 99; this program reads versions up to 2"),
        ({"units": {"energy": "kcal/mol"}}, "has units .*kcal/mol"),
        ({"ao_convention": "orca"}, "has ao_convention 'orca'"),
        ({"constants": {"hartree_in_ev": 27.0, "bohr_in_angstrom": 0.529177}}, "hartree_in_ev = 27.0"),
    ],
)
def test_other_conventions_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "data.db"
    write_database(path, Dataset((record(0),), "pbe/def2-svp", "here"))
    change_metadata(path, **changes)
    with pytest.raises(ValueError, match=message):
        read_database(path)


def test_metadata_say_what_the_numbers_are(tmp_path: Path) -> None:
    write_database(tmp_path / "data.db", Dataset((record(0),), "pbe/def2-svp", "here"), {"grid_level": 3})
    with sqlite3.connect(tmp_path / "data.db") as connection:
        ((text,),) = connection.execute("SELECT value FROM information WHERE name='metadata'").fetchall()
    metadata = json.loads(text)
    assert metadata["level"] == "pbe/def2-svp"
    assert metadata["units"]["matrices"] == "Hartree"
    assert metadata["ao_convention"] == "pyscf spherical"
    assert metadata["level_settings"] == {"grid_level": 3}


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(ValueError, match="no ASE database"):
        read_database(tmp_path / "text.db")
    with pytest.raises(ValueError, match=r"ends in \.db"):
        DatasetFile.create(tmp_path / "data.sqlite", "")
    with pytest.raises(FileNotFoundError, match="no folder"):
        DatasetFile.create(tmp_path / "nowhere" / "data.db", "")
    with pytest.raises(FileNotFoundError, match="no dataset file"):
        DatasetFile(tmp_path / "missing.db")
    assert not (tmp_path / "missing.db").exists()
    DatasetFile.create(tmp_path / "data.db", "")
    with pytest.raises(FileExistsError, match="exists already"):
        DatasetFile.create(tmp_path / "data.db", "")


def test_a_foreign_database_is_no_dataset_file(tmp_path: Path) -> None:
    from ase.build import molecule

    connect(tmp_path / "foreign.db").write(molecule("H2O"))
    with pytest.raises(ValueError, match="no ase-mlwave dataset"):
        DatasetFile(tmp_path / "foreign.db")


def test_kohn_sham_labels_of_earlier_versions_are_read_as_without_the_response_of_the_grid(tmp_path: Path) -> None:
    old = {"program": "pyscf", "functional": "pbe", "basis": "def2-svp"}
    upgraded = DatasetFile.create(tmp_path / "old.db", "pbe/def2-svp", old)
    assert upgraded.level == upgraded.read().level == "pbe/def2-svp grid_response=false"
    assert upgraded.metadata["level_settings"] == {**old, "grid_response": False}
    kept: list[tuple[str, dict[str, Any]]] = [
        ("pbe/def2-svp", {**old, "grid_response": True}),
        ("pbe/def2-svp grid_response=false", {**old, "grid_response": False}),
        ("hf-d3bj/def2-svp", {**old, "functional": "hf-d3bj"}),
        ("gfn2-xtb", {"program": "tblite"}),
        ("pbe/def2-svp", {}),
    ]
    for k, (level, settings) in enumerate(kept):
        file = DatasetFile.create(tmp_path / f"{k}.db", level, settings)
        assert (file.level, file.metadata["level_settings"]) == (level, settings)


def test_levels_that_differ_in_the_response_of_the_grid_alone_are_told() -> None:
    assert differ_in_forces_only("pbe/def2-svp", "pbe/def2-svp grid_response=false")
    assert differ_in_forces_only("pbe/def2-svp grid_level=4 grid_response=false", "pbe/def2-svp grid_level=4")
    assert not differ_in_forces_only("pbe/def2-svp", "pbe/def2-svp")
    assert not differ_in_forces_only("pbe/def2-svp", "pbe/def2-svp grid_level=4 grid_response=false")


#: What a user may call an entry: our own keys of both formats, ASE's columns, formulas, what no column can hold.
ENTRIES = {
    **{"status": "converged", "reason": "none", "total_charge": -7, "geometry_hash": "abc", "mlwave_status": "failed"},
    **{"mlwave_key": "k", "id": 7, "formula": "CH4", "calculator": "orca", "unique_id": "u1", "energy": -3.0, "H2O": 1},
    **{"user": "me", "split": "train", "large": 2**70, "with space": "x", "nothing": None, "yes": True},
    **{"number": "007", "nested": {"a": [1, "b"]}},
}


def test_entries_of_users_are_untouched_whatever_they_are_called(tmp_path: Path) -> None:
    bare = record(0, info=ENTRIES, energy=None, forces=None, matrices={})
    file = DatasetFile.create(tmp_path / "data.db", "pbe/def2-svp", {})
    assert file.add([bare]) == 1
    assert file.counts() == {"labelled": 0, "failed": 0, "pending": 1}
    ((row, pending),) = file.pending().items()
    assert pending.info == ENTRIES
    assert (pending.charge, pending.spin) == (0, 0)
    file.store(row, record(0, info=pending.info))
    assert file.counts() == {"labelled": 1, "failed": 0, "pending": 0}
    (labelled,) = read_database(tmp_path / "data.db")
    assert labelled.info == ENTRIES
    assert connect(tmp_path / "data.db").get(status="converged").total_charge == -7


#: Rows as format 1 had them: status -> key-value pairs.
FIRST_FORMAT = {
    "labelled": {"total_charge": -1, "spin": 1, "split": "train"},
    "failed": {"total_charge": 0, "spin": 0, "reason": "SCFError: no", "smiles": "O"},
    "pending": {"total_charge": 0, "spin": 2},
}


def first_format(db: Any) -> None:
    """Fill an empty database as the first format did."""
    for seed, (status, pairs) in enumerate(FIRST_FORMAT.items()):
        molecule = record(seed)
        atoms = Atoms(molecule.numbers, molecule.positions)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0) if status == "labelled" else None
        db.write(atoms, {"status": status, "geometry_hash": f"sha256:{seed}x", **pairs}, {"info": {"energy": "low"}})
    db.metadata = {**new_metadata("pbe/def2-svp", {}), "format_version": 1}


def told(file: DatasetFile) -> Any:
    failures = [(failure.record.info, failure.reason) for failure in file.failures()]
    return [(r.charge, r.spin, r.info) for r in file.read()], failures, list(file.pending()), file.counts()


def test_first_format_is_read_and_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    store_at(path).create(first_format)
    expected = told(DatasetFile(path))
    assert expected[0] == [(-1, 1, {"split": "train", "energy": "low"})]
    assert expected[1] == [({"smiles": "O", "energy": "low"}, "SCFError: no")]
    assert connect(path).metadata["format_version"] == 1  # reading changes nothing
    times = [row.mtime for row in connect(path).select()]
    old, other = DatasetFile(path), DatasetFile(path)
    old.add([record(9, info={"status": "mine"})])
    other.add([record(10)])  # had read the metadata before the first one upgraded the file
    assert connect(path).metadata["format_version"] == 2
    assert [row.mtime for row in connect(path).select()][:3] == times
    assert told(DatasetFile(path))[1:3] == expected[1:3]
    assert [r.info for r in DatasetFile(path).read()][1:] == [{"status": "mine"}, {}]
    assert [row.id for row in connect(path).select(mlwave_status="failed")] == [2]
    assert not list(connect(path).select("reason"))


def test_a_dataset_says_what_it_leaves_out(tmp_path: Path) -> None:
    store_at(tmp_path / "old.db").create(first_format)
    assert read_database(tmp_path / "old.db").notes == ("left out: 1 pending, 1 failed",)


def test_adding_fills_in_labels_and_refuses_others(tmp_path: Path) -> None:
    file = DatasetFile.create(tmp_path / "data.db", "pbe/def2-svp", {})
    whole = record(0, info={"a": 1})
    file.add([replace(whole, energy=None, forces=None, matrices={}, info={"b": 2}), replace(record(1), forces=None)])
    assert file.add([whole, record(1)]) == 0
    first, second = file.read()
    assert (first.info, first.energy) == ({"a": 1, "b": 2}, pytest.approx(whole.energy))
    assert second.forces is not None
    with pytest.raises(ValueError, match=r"row 2 of .*data.db \(H2O\) has the geometry of a record, but .* energy by"):
        file.add([record(2), record(1, energy=7.0)])
    assert file.counts()["labelled"] == 2


def test_a_file_can_be_used_again_after_a_transaction_that_could_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full for a moment."""
    file = DatasetFile.create(tmp_path / "data.db", "pbe/def2-svp", {"grid_response": True})

    class Full(sqlite3.Connection):
        def commit(self) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as context:
        context.setattr(file._db, "_connect", lambda: sqlite3.connect(tmp_path / "data.db", factory=Full))
        with pytest.raises(sqlite3.OperationalError, match="full"):
            file.add([record(0)])
    assert file.counts() == {"labelled": 0, "failed": 0, "pending": 0}
    assert file.add([record(0)]) == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own words are "unable to open database file" and "attempt to write a readonly database"."""
    path = tmp_path / "data.db"
    file = DatasetFile.create(path, "pbe/def2-svp")
    file.add([record(0)])
    monkeypatch.setattr(file._db, "_connect", lambda: sqlite3.connect(f"file:{path}?mode=ro", uri=True))
    with pytest.raises(OSError, match=r"data\.db cannot be used: attempt to write a readonly database\. Look"):
        file.add([record(1)])
    assert file.counts()["labelled"] == 1
    with pytest.raises(sqlite3.OperationalError, match="no such table"), file._db as db:
        db.connection.execute("SELECT * FROM elsewhere")
    monkeypatch.undo()
    monkeypatch.setattr(file._db, "_path", tmp_path / "no folder" / "data.db")
    with pytest.raises(OSError, match=r"data\.db cannot be used: unable to open database file"):
        file.counts()
