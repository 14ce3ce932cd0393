from __future__ import annotations

from pathlib import Path

import pytest

from tests.calculators.morse import morse_folder


@pytest.fixture
def morse_model(morse_kind: None, tmp_path: Path) -> str:
    return str(morse_folder().save(tmp_path / "morse"))
