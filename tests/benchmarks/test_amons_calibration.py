"""What the benchmark of claimed deviations makes of predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit")
pytest.importorskip("tblite")

from benchmarks.amons_calibration import LEARNED, Claim, draw, main, summarise


def drawn(claimed: float, true: float = 3.0, n: int = 20_000, learned: str = "energies") -> list[Claim]:
    errors = np.random.default_rng(0).normal(scale=true, size=n)
    return [Claim("C", learned, 3, 5, index % 2 == 1, error, claimed) for index, error in enumerate(errors)]


def test_right_claims_are_found_right() -> None:
    found = summarise(drawn(3.0))
    assert [found[key] for key in ("< 1", "< 2", "rms")] == pytest.approx([0.683, 0.954, 1.0], abs=0.02)
    assert found["warned"] == 1.0
    assert found["error"] == found["their error"] == pytest.approx(3 * np.sqrt(2 / np.pi), rel=0.02)
    assert np.isnan(found["of others"])


def test_threshold_divides() -> None:
    found = summarise([*drawn(0.5, 0.5, 100), *drawn(5.0, 5.0, 300)])
    assert found["warned"] == pytest.approx(0.75)
    assert found["of others"] < 1 < found["their error"]


def test_picture_shows_all_settings(tmp_path: Path) -> None:
    draw([claim for learned in LEARNED for claim in drawn(3.0, n=50, learned=learned)], tmp_path / "calibration.png")
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


def test_benchmark_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--output", str(tmp_path), "--max-heavy", "4", "--queries", "1"])
    assert "O=CCc1ccccc1" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"amons.db", "calibration.json", "calibration.png"}
