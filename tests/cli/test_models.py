from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ase_mlwave import zoo
from ase_mlwave.cli.main import app


def test_models_are_listed_with_what_they_are(morse_zoo: Path) -> None:
    output = CliRunner().invoke(app, ["models"]).output
    for word in ("morse", "test-morse", "H O", "energy_mae_meV 0.25"):
        assert word in output


def test_card_is_shown(morse_zoo: Path) -> None:
    assert "# Morse\n\nFor tests." in CliRunner().invoke(app, ["models", "morse"]).output


def test_unknown_model_names_the_nearest(morse_zoo: Path) -> None:
    result = CliRunner().invoke(app, ["models", "mors"])
    assert result.exit_code == 2
    assert "Did you mean 'morse'?" in result.stderr


def test_empty_zoo_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "_zoo_folder", lambda: tmp_path)
    assert "The zoo is empty" in CliRunner().invoke(app, ["models"]).output
