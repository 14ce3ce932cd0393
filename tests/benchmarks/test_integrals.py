"""The benchmark of integrals, with the smallest molecule."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import integrals
from benchmarks.common import read_json


def test_both_programs_are_timed(tmp_path: Path) -> None:
    integrals.main(["--molecules", "water", "--batch", "1", "2", "--repeats", "1", "--output", str(tmp_path)])
    found = read_json(tmp_path / "integrals.json")["water"]
    assert list(found) == [
        f"{who}: {what}" for who in ("torch, 1", "torch, 2", "pyscf, 1") for what in ("matrices", "with gradient")
    ]
    assert min(found.values()) > 0


@pytest.mark.parametrize("words", [["--molecules", "ammonia"], ["--batch", "0"]])
def test_bad_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        integrals.main(words)
