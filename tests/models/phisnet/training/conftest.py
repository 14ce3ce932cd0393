"""Tiny runs; models are not measured afterwards, and no curve is drawn: both take longer. ``test_measured.py`` does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ase_mlwave.models.training.run import Training


@pytest.fixture(scope="module", autouse=True)
def _unmeasured(request: pytest.FixtureRequest, undrawn: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_measured"):
            patch.setattr(Training, "_measure", lambda *arguments: None)
        yield
