"""The benchmark of forces from amons, on a molecule that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import amons_forces


def test_unknown_molecule_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        amons_forces.main(["dipeptid", "--output", str(tmp_path)])
    assert "dipeptide" in capsys.readouterr().err


@pytest.mark.slow
def test_molecule_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite")
    monkeypatch.setitem(amons_forces.MOLECULES, "methanol", "CO")
    words = ["methanol", "--max-heavy", "2", "--copies", "12", "--geometries", "3", "--length", "0.02"]
    amons_forces.main([*words, "--output", str(tmp_path)])
    (result,) = json.loads((tmp_path / "forces.json").read_text(encoding="utf-8"))
    assert result["amons"] == 3
    assert result["force MAE (meV/A)"] < 0.3 * result["mean |force| component (meV/A)"]
    assert result["relaxation: RMSD (A)"] < 0.1
    assert result["NVE: ending"] == "complete"
    assert np.isfinite(result["NVE: drift (meV / atom / ps)"])
