from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.models import folder as zoo
from tests.calculators.morse import morse_folder


def test_models_are_listed_with_what_they_are(morse_zoo: Path) -> None:
    output = CliRunner().invoke(app, ["models"]).output
    for word in ("morse", "test-morse", "H O", "energy_mae_meV 0.25"):
        assert word in output


def test_list_has_one_line_a_model_in_a_pipe(morse_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    morse_folder(0.3).save(morse_zoo / "other")
    monkeypatch.setenv("COLUMNS", "20")
    lines = CliRunner().invoke(app, ["models"]).output.splitlines()
    assert [line.split("\t")[:3] for line in lines] == [[name, "test-morse", "H O"] for name in ("morse", "other")]


@pytest.mark.parametrize("width", [20, 40, 200])
def test_list_fits_the_terminal_and_keeps_its_words(
    morse_zoo: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # what tells rich that a pipe is a terminal
    output = Text.from_ansi(CliRunner().invoke(app, ["models"]).output).plain
    assert max(map(len, output.splitlines())) <= width
    assert {"morse", "test-morse", "energy_mae_meV", "0.25"} <= set(output.split())


@pytest.mark.parametrize("text", ["[/x]", "[bold]", "[red]A[/red]", ":smile: [link=http://a.b]c[/link]"])
def test_card_is_text_and_no_markup(morse_zoo: Path, text: str) -> None:
    replace(morse_folder(), card=f"# Morse\n\n{text}\n").save(morse_zoo / "odd")
    assert text in CliRunner().invoke(app, ["models", "odd"]).output


def test_card_is_shown(morse_zoo: Path) -> None:
    assert "# Morse\n\nFor tests." in CliRunner().invoke(app, ["models", "morse"]).output


def test_unknown_model_names_the_nearest(morse_zoo: Path) -> None:
    result = CliRunner().invoke(app, ["models", "mors"])
    assert result.exit_code == 2
    assert "Did you mean 'morse'?" in result.stderr


def test_empty_zoo_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "_zoo_folder", lambda: tmp_path)
    assert "The zoo is empty" in CliRunner().invoke(app, ["models"]).output
