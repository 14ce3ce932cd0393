"""The benchmark of amons labelled by a model, on water."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import amons_labels


def test_unknown_query_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        amons_labels.main(["GABBA", "--output", str(tmp_path)])
    assert "nicotinamide" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_labels_of_a_model_are_measured_and_those_of_the_method_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tblite")
    monkeypatch.setitem(amons_labels.QUERIES, "water", "O")
    words = ["water", "--reference", "phisnet-water", "--max-heavy", "1", "--copies", "1", "--geometries", "2"]
    amons_labels.main([*words, "--output", str(tmp_path)])
    (result,) = json.loads((tmp_path / "amons_labels.json").read_text(encoding="utf-8"))
    assert result["labels"] >= 2
    assert 0 < result["label, model (CPU-s)"] < result["label, method (CPU-s)"]
    assert 0 <= result["labels: energy (meV)"] < 10
    assert result["labels: force (meV/A)"] < 50
    assert "| labels: force (meV/A) |" in capsys.readouterr().out
    amons_labels.main([*words, "--output", str(tmp_path)])
    (again,) = json.loads((tmp_path / "amons_labels.json").read_text(encoding="utf-8"))
    assert again["label, method (CPU-s)"] == result["label, method (CPU-s)"]
    assert len(list(tmp_path.glob("*.db"))) == 3
