from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.lookups import find_rows
from ase_mlwave.data.record import Record
from ase_mlwave.data.stores import store_at


def water(number: int, **info: object) -> Record:
    positions = np.random.default_rng(number).normal(size=(3, 3))
    return Record(numbers=[8, 1, 1], positions=positions, energy=float(number), info=info)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = DatasetFile.create(tmp_path / "data.db", "hf/sto-3g")
    file.add([water(k, smiles=f"C{k % 3}", k=k, even=k % 2 == 0) for k in range(7)])
    return tmp_path / "data.db"


def test_rows_are_found_by_texts_and_numbers(path: Path) -> None:
    with store_at(path).connect() as db:
        assert find_rows(db, "smiles", {"C1", "C2", "O"}) == [("C1", 2), ("C2", 3), ("C1", 5), ("C2", 6)]
        assert find_rows(db, "k", [0, 6, 6.5]) == [(0.0, 1), (6.0, 7)]
        assert [number for _, number in find_rows(db, "even", [True])] == [1, 3, 5, 7]
        assert find_rows(db, "k", ["0"]) == []
        assert find_rows(db, "smiles", []) == []
        assert len(find_rows(db, "smiles", ["C1", *map(str, range(1200))])) == 2


def test_lookups_use_the_indices(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        for statement, index in (
            ("SELECT id FROM text_key_values WHERE key = 'a' AND value IN ('b')", "mlwave_texts (key=? AND value=?)"),
            ("SELECT id FROM number_key_values WHERE key = 'a' AND value IN (1)", "mlwave_numbers (key=? AND value=?)"),
            ("SELECT value, COUNT(*) FROM text_key_values WHERE key = 'a' GROUP BY value", "COVERING INDEX mlwave"),
            ("DELETE FROM text_key_values WHERE id = 5", "mlwave_text_key_values_id (id=?)"),
            ("DELETE FROM species WHERE id = 5", "mlwave_species_id (id=?)"),
        ):
            (row,) = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            assert index in row[-1]
    connection.close()


def test_files_of_before_the_indices_get_them_when_they_are_written_to(path: Path) -> None:
    def indices() -> set[str]:
        connection = sqlite3.connect(path)
        found = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'mlwave%'").fetchall()
        connection.close()
        return {name for (name,) in found}

    made = indices()
    assert len(made) == 6
    with sqlite3.connect(path) as connection:
        for name in made:
            connection.execute(f"DROP INDEX {name}")
    connection.close()
    file = DatasetFile(path)
    assert file.numbers([water(4), water(99), water(2)]) == [5, 3]
    assert file.counts() == {"labelled": 7, "failed": 0, "pending": 0}
    assert indices() == set()
    assert file.add([water(4), water(99)]) == 1
    assert indices() == made
