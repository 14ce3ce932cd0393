"""The league: every cell once, what fails counted, one table and one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlwave import Record
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import write_database
from ase_mlwave.data.record import Dataset
from benchmarks.cycles import Kept
from benchmarks.league import __main__ as league
from benchmarks.league import tasks
from benchmarks.league.contestants import CONTESTANTS, Contestant
from benchmarks.league.report import draw, insert, long_rows, short_rows
from tests.benchmarks.springs import PairSprings
from tests.benchmarks.test_cycles import conformer_file
from tests.commands import ROOT

MINIMUM = molecule("H2O")


def _stretched(n: int) -> list[Atoms]:
    found = []
    for k in range(n):
        atoms = MINIMUM.copy()
        atoms.positions[1] *= 1 + 0.02 * (k + 1)
        found.append(atoms)
    return found


def _labelled(n: int) -> list[Record]:
    """Label stretched waters with springs."""
    records = []
    for atoms in _stretched(n):
        atoms.calc = PairSprings(MINIMUM)
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        records.append(record_from_atoms(atoms, split="test"))
    return records


@pytest.fixture
def cells(tmp_path: Path) -> tasks.Cells:
    return tasks.Cells(Kept(tmp_path / "cells.json"), "springs")


def test_forces_are_compared_with_the_labels(cells: tasks.Cells, tmp_path: Path) -> None:
    records = _labelled(3)
    figures = tasks.forces(PairSprings(MINIMUM), cells, records)
    assert figures["forces"] == pytest.approx(0, abs=1e-6)
    other = tasks.Cells(Kept(tmp_path / "others.json"), "twice as stiff")
    twice = tasks.forces(PairSprings(MINIMUM, constant=20.0), other, records)
    size = 1e3 * sum(abs(record.forces).mean() for record in records) / 3 * 51.42206747  # type: ignore[arg-type]
    assert twice["forces"] == pytest.approx(size, rel=1e-6)


def test_a_cell_is_computed_once_and_what_fails_is_counted(cells: tasks.Cells) -> None:
    class Failing(PairSprings):
        def calculate(self, *words: Any, **more: Any) -> None:
            raise CalculationFailed("no")

    records = _labelled(2)
    known = tasks.forces(PairSprings(MINIMUM), cells, records)
    assert tasks.forces(Failing(MINIMUM), cells, records) == known  # it is not asked
    third = _labelled(3)
    assert tasks.forces(Failing(MINIMUM), cells, third) == known | {"forces, failures": 1.0}
    assert tasks.forces(Failing(MINIMUM), tasks.Cells(cells.kept, "failing"), records) == {}


def _springs(name: str, constant: float, aims: str = "springs") -> Contestant:
    return Contestant(name, aims, lambda: PairSprings(MINIMUM, constant), lambda: name)


def _missing() -> Any:
    raise ImportError("No module named 'rival'")


def test_one_command_gives_a_table_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_database(tmp_path / "data.db", Dataset(records=tuple(_labelled(4)), level="springs", source="springs"))
    data = conformer_file(tmp_path / "set.npz", [_stretched(3)])
    rival = Contestant("rival", "itself", _missing, lambda: "rival")
    contestants = (_springs("soft", 5.0), _springs("right", 10.0, "PBE/def2-SVP"), rival)
    monkeypatch.setattr(league, "CONTESTANTS", contestants)
    monkeypatch.setattr(tasks, "minima", lambda *_: [(_stretched(1)[0], MINIMUM.copy())])
    monkeypatch.setattr(tasks, "seconds", lambda *_: {"seconds": 0.5})
    page = tmp_path / "page.md"
    begin = "<!-- league: written by `python -m benchmarks.league --documents` -->"
    page.write_text(f"before\n{begin}\nold\n<!-- end of league -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(league, "_DOCUMENTS", (page,) * 2)
    words = ["--data", tmp_path / "data.db", "--conformers", data, "--output", tmp_path / "out", "--documents"]
    found = league.main(list(map(str, words)))
    assert found["right"]["forces"] == pytest.approx(0, abs=1e-6)
    assert found["soft"]["forces"] > 10
    assert found["soft"]["relaxations, 0.02 A"] == 100
    assert "rival is left out: No module named 'rival'" in " ".join(capsys.readouterr().err.split())
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{begin}\n\n| ")
    assert ("old" in text, text.endswith("\nafter\n")) == (False, True)
    for picture in (tmp_path / "out" / "league.png", page.with_suffix(".png")):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_picture_and_table_take_what_is_not_measured(tmp_path: Path) -> None:
    rows: list[tuple[Contestant, tasks.Figures]] = [(CONTESTANTS[0], {"seconds": 50.0}), (CONTESTANTS[1], {})]
    draw(rows, tmp_path / "league.png")
    assert [len(row) for row in (*long_rows(rows), *short_rows(rows))] == [8] * 3 + [5] * 3
    with pytest.raises(ValueError, match="no lines"):
        insert(ROOT / "LICENSE", long_rows(rows))
