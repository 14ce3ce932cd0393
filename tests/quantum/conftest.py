"""PySCF opens a temporary checkpoint file per mean field and leaves closing it to the garbage collector."""

from __future__ import annotations

import pytest
from pyscf.scf import hf


@pytest.fixture(autouse=True)
def _no_checkpoint_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "MUTE_CHKFILE", True)
