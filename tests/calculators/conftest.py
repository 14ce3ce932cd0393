from __future__ import annotations

from pathlib import Path

import pytest

from ase_mlwave import model_config
from tests.calculators.morse import morse_folder


@pytest.fixture(autouse=True)
def morse_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the zoo read the tests' own kind of model."""
    home = "tests.calculators.morse"
    monkeypatch.setitem(model_config.KINDS, "test-morse", (f"{home}:MorseNetwork", f"{home}:MorseConfig"))


@pytest.fixture
def morse_model(morse_kind: None, tmp_path: Path) -> str:
    return str(morse_folder().save(tmp_path / "morse"))
