"""Structures of the benchmark of the representation, and a small run of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import slatm


def test_molecules_are_of_the_size_of_qm9() -> None:
    pytest.importorskip("rdkit")
    systems = slatm.molecules(20)
    assert {sum(atoms.numbers > 1) for atoms in systems} == {9}
    assert np.mean([len(atoms) for atoms in systems]) == pytest.approx(17.7, abs=0.5)
    assert len({atoms.get_chemical_formula() + str(atoms.positions) for atoms in slatm.molecules(40)}) == 40


def test_programs_are_timed_and_compared_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("qmllib")
    monkeypatch.setattr(
        sys, "argv", ["slatm", "--molecules", "6", "--repeats", "1", "--output", str(tmp_path / "results")]
    )
    slatm.main()
    written = json.loads((tmp_path / "results" / "slatm.json").read_text())
    assert written["molecules"] == 6
    assert written["compact, CPU s"] > 0
    assert written["largest difference of distances"] < 1e-12


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--molecules", "0"], "must be positive"), (["--structures", "nowhere.xyz"], "there is no file nowhere.xyz")],
)
def test_unusable_options_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("qmllib")
    with pytest.raises(SystemExit):
        slatm.options(words)
    assert message in capsys.readouterr().err
