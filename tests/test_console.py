from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.markdown import Markdown
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.console import Console

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\x9b31mc\rd\x08e\u202ef[/x][bold]g[/bold]:smile:"
_STYLES = re.compile(r"\x1b\[[0-9;]*m")


def _table(text: str) -> Table:
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    return table


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("make", [str, Text, _table, Markdown])
def test_what_is_printed_cannot_command_the_terminal(make: type, terminal: bool) -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=terminal, width=300, color_system="truecolor").print(make(HOSTILE))
    text = _STYLES.sub("", out.getvalue())
    assert text.replace("\n", "").isprintable()
    if make in (str, Text):
        assert text.strip("\n").startswith("a\\x1b[2J\\x1b]0;title")
        assert "[/x][bold]g[/bold]:smile:" in text


def test_bars_show_text_as_it_is() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=300)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as bar:
        bar.add_task(HOSTILE, total=1)
    controls = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")  # cursor movements are the bar's own
    assert controls.sub("", out.getvalue()).replace("\n", "").isprintable()
    assert "\x1b[2J" not in out.getvalue()
    assert "[/x]" in out.getvalue()


def test_errors_are_cleaned_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "x.extxyz"
    path.write_text('1\nProperties=\x1b[2Jspecies:S:1 level="\x1b[31m"\nH 0 0 \x1b[2J0\n')
    for words in (["label", str(path), str(tmp_path / "y.db")], ["predict", "phisnet-water", str(path)]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        assert result.output.replace("\n", "").isprintable()


def test_messages_are_bounded_on_the_command_line() -> None:
    result = CliRunner().invoke(app, ["models", "x" * 100_000])
    assert result.exit_code == 2
    assert len(result.output) < 3000
