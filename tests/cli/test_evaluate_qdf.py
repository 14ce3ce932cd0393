"""``mlwave evaluate`` with quantum deep fields: committees, cards, errors by size, options that are refused."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from matplotlib.image import imread
from typer.testing import CliRunner

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.models.card import ERRORS_BEGIN, ERRORS_END
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.qdf.published.importing import import_published
from tests.calculators.labelled import labelled_molecules, random_models


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the models a, b, c, d and labelled molecules."""
    folder = tmp_path_factory.mktemp("home")
    random_models(folder, 4)
    images = [atoms_from_record(record.with_info(level="gfn2-xtb")) for record in labelled_molecules(2)]
    write(folder / "molecules.xyz", images, format="extxyz")
    return folder


@pytest.fixture(autouse=True)
def _in_the_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "200")


def _invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return result.exit_code, result.output


def test_energies_forces_and_sizes_are_printed_and_kept(home: Path) -> None:
    code, output = _invoke("a", "molecules.xyz", "--split", "test", "-o", "out/figures.json")
    assert code == 0, output
    figures = json.loads(Path("out/figures.json").read_text(encoding="utf-8"))
    records = [record for record in labelled_molecules(2) if record.info["split"] == "test"]
    structures = [atoms_from_record(record) for record in records]
    results = QDFCalculator("a").predict(structures)
    errors = [
        1e3 * abs(r["energy"] - atoms.get_potential_energy()) for r, atoms in zip(results, structures, strict=True)
    ]
    assert figures["n"] == len(structures)
    assert figures["energy_mae_meV"] == pytest.approx(np.mean(errors), rel=1e-5)
    printed = dict(re.findall(r"(\w+) +│ +([-\d.e+]+) ", output))
    assert float(printed["energy_mae_meV"]) == pytest.approx(np.mean(errors), rel=1e-3)
    assert "errors by size" in output
    heavy = [int(sum(atoms.numbers > 1)) for atoms in structures]
    for row in figures["by_heavy_atoms"]:
        inside = [error for error, n in zip(errors, heavy, strict=True) if n == int(row["heavy_atoms"])]
        assert row["n"] == len(inside)
        assert row["energy_mae_meV"] == pytest.approx(np.mean(inside), rel=1e-5)


def test_card_of_a_committee_has_a_plot_and_the_command_that_gives_its_figures() -> None:
    code, output = _invoke("a,b,c,d", "molecules.xyz", "--limit", "6", "--write-card")
    assert code == 0, output
    folder = ModelFolder.load("a")
    assert "![Error against spread of the committee](calibration.png)" in folder.card
    assert "| heavy atoms | molecules |" in folder.card
    assert folder.card.startswith("# Random weights")
    assert (folder.card.count(ERRORS_BEGIN), folder.card.count(ERRORS_END)) == (1, 1)
    height, width, _ = imread("a/calibration.png").shape
    assert width > 1.5 * height > 400  # two panels
    command = re.findall(r"by `mlwave evaluate (.*)`:", folder.card)
    assert command == ["a,b,c,d molecules.xyz --limit 6"]
    code, output = _invoke(*shlex.split(command[0]), "-o", "again.json")
    assert code == 0, output
    again = json.loads(Path("again.json").read_text(encoding="utf-8"))
    assert {"energy_mae_meV", "committee_forces_calibration_factor"} < folder.config.errors.keys()
    for name, value in folder.config.errors.items():
        assert again[name] == pytest.approx(value, rel=1e-5), name
    assert again["committee"] == ["a", "b", "c", "d"]
    assert sum(one["n"] for one in again["calibration"][1]["bins"]) == sum(map(len, labelled_molecules(2).records[:6]))
    assert _invoke(*shlex.split(command[0]), "--write-card")[0] == 0
    assert ModelFolder.load("a").card == folder.card  # again gives the same, not a second table


def test_card_without_a_place_for_errors_gets_one(tmp_path: Path) -> None:
    files = Path(__file__).parents[1] / "models/qdf/published/files"
    imported = import_published(files / "energy.pth", files / "orbitaldict_3-21G.json")
    folder = imported.save(tmp_path / "published")
    images = [atoms_from_record(record) for record in labelled_molecules(1)]
    for atoms in images:
        atoms.info["level"] = "b3lyp/6-31g(2df,p) atomization energy"
        del atoms.calc.results["forces"]
    write(tmp_path / "data.xyz", images, format="extxyz")
    code, output = _invoke(folder, tmp_path / "data.xyz", "--write-card")
    assert code == 0, output
    assert "note: no forces in the data" in output
    assert "forces_mae" not in output
    card = ModelFolder.load(folder).card
    assert card.startswith(imported.card.rstrip())
    assert "## Errors" in card
    assert ModelFolder.load(folder).config.errors["energy_mae_meV"] > 0
    assert _invoke(folder, tmp_path / "data.xyz", "--write-card")[0] == 0
    assert ModelFolder.load(folder).card == card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "molecules.xyz", "--level", "scf"), "--level: this is for PhiSNet models only, and a is of kind 'qdf'"),
        (("a", "molecules.xyz", "--no-cycles"), "--no-cycles: this is for PhiSNet models only"),
        (("a", "molecules.xyz", "--cycles", "--level", "scf"), "--level and --cycles: this is for PhiSNet models only"),
        (("a,b,a", "molecules.xyz"), "two models of the committee have the same weights"),
        (("a,phisnet-water", "molecules.xyz"), "is a model of kind 'phisnet', but QDFCalculator needs 'qdf'"),
        (("a", "molecules.xyz", "--split", "tset"), "no split 'tset'"),
        (("phisnet-water", "molecules.xyz"), "labelled at 'gfn2-xtb' but the model was made for 'pbe/def2-svp'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], message: str) -> None:
    code, output = _invoke(*arguments)
    assert code == 2, output
    *read, error = output.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert all(" structures, " in line for line in read)  # what was read, where it was
    assert len(read) <= 1
