from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.qdf.published.importing import import_published

FILES = Path(__file__).parent / "files"


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """Numbers of ``files/make_case.py``."""
    loaded: dict[str, Any] = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def energy_model() -> ModelFolder:
    return import_published(FILES / "energy.pth", FILES / "orbitaldict_3-21G.pickle")


@pytest.fixture
def levels_model() -> ModelFolder:
    return import_published(FILES / "levels.pth", FILES / "orbitaldict_3-21G.json")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Return the folder of the published weights and predictions, which this repository does not contain."""
    folder = Path(os.environ.get("MLWAVE_REFERENCE", ""), "qdf")
    if not (folder / "published_predictions_300.xyz").is_file():
        pytest.skip("MLWAVE_REFERENCE names no folder with qdf/published_predictions_300.xyz")
    return folder
