from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.data.readers import read_dataset


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["sample", *map(str, arguments)])
    return result.exit_code, result.stderr


SHORT = ("--interval", "2", "--equilibration", "5")


@pytest.mark.parametrize("suffix", ["extxyz", "db"])
def test_dynamics_are_written_and_reproducible(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("tblite")
    outputs = [tmp_path / f"{name}.{suffix}" for name in ("a", "b", "c")]
    for output, seed in zip(outputs, ("1", "1", "2"), strict=True):
        code, messages = run("H2O", output, "-t", "300", "-t", "900", "-n", "2", "--seed", seed, *SHORT)
        assert code == 0, messages
        assert "4 geometries" in messages
    first, second, third = (read_dataset(output) for output in outputs)
    assert [record.info["temperature"] for record in first] == [300.0, 300.0, 900.0, 900.0]
    assert first.content_hash() == second.content_hash() != third.content_hash()


def test_modes_of_a_smiles(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    pytest.importorskip("rdkit")
    code, messages = run("smiles:CO", tmp_path / "methanol.extxyz", "-n", "3", "--method", "modes")
    assert code == 0, messages
    dataset = read_dataset(tmp_path / "methanol.extxyz")
    assert [(record.formula, record.info["smiles"]) for record in dataset] == [("CH4O", "CO")] * 3
    assert not np.allclose(dataset[0].positions, dataset[1].positions)


def test_wrong_requests_are_refused_before_any_work(tmp_path: Path) -> None:
    output = tmp_path / "out.extxyz"
    for arguments, message in (
        (("H2O", tmp_path / "out.csv"), "known kinds of data file"),
        (("nothing", output), "no molecule that ASE knows"),
        (("H2O", output, "--level", "gfn3-xtb"), "Did you mean 'gfn2-xtb'"),
        (("H2O", output, "--level", "hf/sto-3g", "-t", "-5"), "temperatures must be positive"),
        (("H2O", output, "--level", "hf/sto-3g", "--timestep", "0"), "timestep"),
    ):
        code, messages = run(*arguments)
        assert code == 2
        assert message in messages
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "out.extxyz"
    output.write_text("precious")
    code, messages = run("H2O", output)
    assert code == 2
    assert "exists already" in messages
    assert output.read_text() == "precious"
