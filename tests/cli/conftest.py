from __future__ import annotations

from pathlib import Path

import pytest

from ase_mlwave.models import folder as zoo
from tests.calculators.morse import morse_folder


@pytest.fixture
def morse_zoo(morse_kind: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put one Morse potential, ``morse``, in the place of the zoo."""
    monkeypatch.setattr(zoo, "_zoo_folder", lambda: tmp_path / "zoo")
    monkeypatch.setenv("COLUMNS", "200")
    morse_folder().save(tmp_path / "zoo" / "morse")
    return tmp_path / "zoo"
