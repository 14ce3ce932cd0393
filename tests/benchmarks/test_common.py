"""What benchmarks share, and that the commands that the documentation names exist."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from ase.calculators.calculator import InputError

from benchmarks.common import command_line, figures_table, markdown_table, medians, one_thread, read_json, write_json

ROOT = Path(__file__).parents[2]


def test_benchmarks_that_are_named_anywhere_exist() -> None:
    files = [*ROOT.glob("*.md"), ROOT / "Makefile", *(ROOT / "docs").glob("*.md"), *(ROOT / "ase_mlwave").rglob("*.py")]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    named = set(re.findall(r"\bbenchmarks\.([a-z]\w*)", text))
    assert len(named) > 8
    assert not [name for name in named if find_spec(f"benchmarks.{name}") is None]


def test_options_are_checked_and_say_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    parser = command_line("water", "Measure.", repeats=7, seed=..., output=...)
    chosen = parser.parse_args(["--output", "here"])
    assert (chosen.repeats, chosen.seed, chosen.output) == (7, 0, Path("here"))
    for words, message in (([], "--output"), (["--output", "a", "--repeats", "0"], "it was 0, and must be positive")):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert message in capsys.readouterr().err


def test_refused_input_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^error: no such thing$"), one_thread():
        raise InputError("no such thing")


def test_first_call_does_not_count_and_functions_take_turns() -> None:
    clock, calls = 0.0, []

    def work(name: str, seconds: float) -> None:
        nonlocal clock
        calls.append(name)
        clock += 100.0 if calls.count(name) == 1 else seconds

    found = medians({"a": lambda: work("a", 1.0), "b": lambda: work("b", 3.0)}, 3, lambda: clock)
    assert found == {"a": 1.0, "b": 3.0}
    assert calls == ["a", "b"] * 4


def test_results_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "result.json"
    assert read_json(path, []) == []
    write_json(path, {"a": [1.5]})
    assert read_json(path) == {"a": [1.5]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": [1.5]}


def test_tables_have_a_row_for_every_figure() -> None:
    assert markdown_table([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    table = figures_table({"one": {"x": 1.23456, "y": "fine"}, "two": {"x": 2}})
    assert [list(column.cells) for column in table.columns] == [["x", "y"], ["1.235", "fine"], ["2", ""]]
