from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.demo import run as demo


def _invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["demo", *map(str, arguments)])
    return result.exit_code, result.output


def test_tables_are_printed_and_pictures_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(model: str, output: Path, progress: Any) -> list[demo.Section]:
        assert model == "phisnet-water"
        assert output.is_dir()
        progress("counting", 1, 2)
        progress("counting", 2, 2)
        return [demo.Section("A title", ("what", "how much"), (("this", "1.25"),), "A remark.", "picture.png")]

    monkeypatch.setattr(demo, "run_demo", run)
    monkeypatch.setenv("COLUMNS", "200")
    code, output = _invoke("-o", tmp_path / "new" / "folder", "--model", "phisnet-water")
    assert code == 0, output
    for text in ("A title", "how much", "this", "1.25", "A remark.", str(tmp_path / "new" / "folder" / "picture.png")):
        assert text in output


def test_unknown_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    code, output = _invoke("-o", tmp_path / "out", "--model", "phisnet-watre")
    assert code == 2, output
    assert "Did you mean 'phisnet-water'" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:remove_linear_dep_:DeprecationWarning")  # PySCF's own guess "atom"
def test_demonstration_runs_from_the_command_line(tmp_path: Path) -> None:
    code, output = _invoke("-o", tmp_path / "out")
    assert code == 0, output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"relaxation.png", "dynamics.png", "scf_cycles.png"}
