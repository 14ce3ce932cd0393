"""The benchmark of speed, with few molecules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import amons_speed


def test_kernel_is_timed_beside_the_public_program(tmp_path: Path) -> None:
    pytest.importorskip("qmllib")
    words = ["kernel", "--molecules", "4", "--rival-molecules", "3", "--repeats", "1", "--output", str(tmp_path)]
    amons_speed.main(words)
    found = json.loads((tmp_path / "amons_speed.json").read_text(encoding="utf-8"))["kernel"]
    assert found["molecules"] == 4
    assert found["kernel, CPU s"] > 0
    assert found["public program, extrapolated, CPU s"] > found["public program, 3 molecules, CPU s"] > 0


@pytest.mark.parametrize("words", [["kernl"], ["--molecules", "0"]])
def test_bad_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        amons_speed.options(words)


def test_peptide_has_sixty_atoms() -> None:
    assert len(amons_speed.from_smiles(amons_speed.PEPTIDE, 0)) == 62
