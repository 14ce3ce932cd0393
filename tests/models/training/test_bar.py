"""How far training is, on a terminal and in a file."""

from __future__ import annotations

import re
import time

import pytest
from rich.console import Console

from ase_mlwave.models.training import bar as module
from ase_mlwave.models.training.bar import TrainingBar, duration, training_bar


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59, "59 s"), (60, "1 min"), (5400, "90 min"), (12000, "3 h 20 min")]
)
def test_times_are_written_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_there_is_a_line_a_minute_and_at_every_validation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with TrainingBar("training", 100) as bar:
        for step in range(1, 101):
            clock[0] += 10.0
            bar.advance()
            if step == 50:
                bar.note("hamiltonian 300 µHa")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training: 6 of 100, 16 min left"
    assert "training: 50 of 100, 8 min left, hamiltonian 300 µHa" in lines
    assert len(lines) == 17
    assert lines[-1].startswith("training: 98 of 100, 20 s left, hamiltonian 300 µHa")


def test_time_left_is_that_of_the_run_and_counts_this_session_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validations, which take a while between two steps, count; what an earlier session did in no time does not."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with TrainingBar("training", 1000, done=900) as bar:
        clock[0] += 20.0
        bar.advance(10)
        clock[0] += 80.0
        bar.note("energy 1 meV")
    assert capsys.readouterr().out == "training: 910 of 1000, 15 min left, energy 1 meV\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_bar_on_a_terminal_is_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(force_terminal=True, width=width, record=True, legacy_windows=False)
    monkeypatch.setattr(module, "Console", lambda: console)
    with console.capture() as captured, TrainingBar("training", 5000) as bar:
        bar.advance(1234)
        bar.note("hamiltonian 312 µHa, energy 1.25e+03 µHa, forces 850 µHa/Bohr")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", captured.get()).replace("\r", "\n").split("\n")
    last = [line.rstrip() for line in lines if line.strip()][-1]
    assert len(last) <= width
    assert last.startswith("training")
    if width >= 80:
        assert "1234/5000" in last
        assert " left" in last


def test_nothing_is_shown_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingBar("training", 2, shown=False) as bar:
        bar.advance(2)
        bar.note("energy 1 meV")
    with training_bar("fitting", shown=False) as start:
        start(3)(3)
    assert capsys.readouterr() == ("", "")
