from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.demo import run as demo
from ase_mlwave.models.folder import list_models


def _invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["demo", *map(str, arguments)])
    return result.exit_code, result.output


def test_tables_are_printed_and_pictures_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(molecule: str, model: str, output: Path, progress: Any) -> list[demo.Section]:
        assert (molecule, model) == ("CO", "phisnet-water")
        assert output.is_dir()
        progress("counting", 1, None)
        progress("counting", 2, 2)
        return [demo.Section("A title", ("what", "how much"), (("this", "1.25"),), "A remark.", "picture.png")]

    monkeypatch.setattr(demo, "run_demo", run)
    monkeypatch.setenv("COLUMNS", "200")
    code, output = _invoke("-o", tmp_path / "new" / "folder", "--model", "phisnet-water", "--molecule", "CO")
    assert code == 0, output
    for text in ("A title", "how much", "this", "1.25", "A remark.", str(tmp_path / "new" / "folder" / "picture.png")):
        assert text in output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--model", "phisnet-watre", "Did you mean 'phisnet-water'"), ("--molecule", "C(", "'C(' is no valid SMILES")],
)
def test_wrong_input_is_refused_before_anything_is_written(
    option: str, value: str, message: str, tmp_path: Path
) -> None:
    model = () if option == "--model" else ("--model", "phisnet-water")
    code, output = _invoke("-o", tmp_path / "out", *model, option, value)
    assert code == 2, output
    assert message in output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif("phisnet-chno" not in list_models(), reason="the zoo has no phisnet-chno")
def test_demonstration_runs_from_the_command_line(tmp_path: Path) -> None:
    code, output = _invoke("-o", tmp_path / "out", "--molecule", "C")
    assert code == 0, output
    pictures = {"relaxation.png", "orbitals.png", "scf_cycles.png", "dynamics.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == pictures
