from __future__ import annotations

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from typer.testing import CliRunner

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.models.amons import amons_of
from ase_mlwave.reference.levels import TbliteLevel


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["amons", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_amons_are_listed_by_size_with_their_places() -> None:
    code, output, _ = run("Cc1ccccc1", "--max-heavy", "6")
    assert code == 0
    amon_table, size_table = output.strip().split("\n\n" if "\n\n" in output else "\n \n")
    rows = [line.split() for line in amon_table.splitlines()[1:]]
    assert tuple(smiles for _, smiles, _ in rows) == amons_of("Cc1ccccc1", 6)
    assert ["1", "C", "1"] in rows
    assert ["2", "C=C", "6"] in rows
    assert [line.split() for line in size_table.splitlines()[1:]][-1] == ["all", "7", str(sum(int(r[2]) for r in rows))]
    assert run("list", "Cc1ccccc1", "--max-heavy", "6") == run("--max-heavy", "6", "Cc1ccccc1")


def test_amons_are_drawn_and_written() -> None:
    code, _, notes = run("CCO", "--max-heavy", "2", "--draw", "amons.png", "--output", "amons.extxyz")
    assert code == 0
    assert "amons.png: 4 amons" in notes
    assert Path("amons.png").read_bytes().startswith(b"\x89PNG")
    frames = ase.io.read("amons.extxyz", index=":")
    assert [atoms.info["smiles"] for atoms in frames] == ["C", "O", "CC", "CO"]
    assert [atoms.get_chemical_formula() for atoms in frames] == ["CH4", "H2O", "C2H6", "CH4O"]


def test_files_and_crystals_are_queries() -> None:
    ase.io.write("ethanol.xyz", molecule("CH3CH2OH"))
    assert [line.split()[1] for line in run("ethanol.xyz", "--max-heavy", "2")[1].splitlines()[1:5]] == [
        *("C", "O", "CC", "CO")
    ]
    ase.io.write("silicon.cif", bulk("Si", cubic=True))
    code, output, _ = run("silicon.cif", "--max-heavy", "2", "--output", "silicon.extxyz")
    assert code == 0
    assert "[SiH4]" in output or "[SiH3][SiH3]" in output
    waters = molecule("H2O")
    other = molecule("H2O")
    other.translate([0, 0, 2.9])
    waters.extend(other)
    ase.io.write("dimer.xyz", waters)
    assert "O.O" in run("dimer.xyz", "--max-contact-heavy", "2")[1]


def test_wrong_requests_are_refused_before_any_work(here: Path) -> None:
    for arguments, message in (
        (("C1CC",), "no valid SMILES"),
        (("missing.xyz",), "there is no file"),
        (("CCO", "--draw", "amons.jpg"), "no name of a picture"),
        (("CCO", "--output", "amons.xyz"), "written to an .extxyz file"),
        (("CCO", "--max-contact-heavy", "2"), "coordinates"),
        (("fit", "CCO", "--reference", "gfn3-xtb"), "no level of theory"),
        (("fit", "CCO", "--reference", "hf/sto-3g", "--plot", "curve.gif"), "no name of a picture"),
        (("fit", "CCO", "CO", "--reference", "hf/sto-3g", "--plot", "curve.png"), "the curve of one query"),
        (("fit", "CCO", "--reference", "hf/sto-3g", "--workers", "0"), "n_workers must be at least 1"),
        (("fit", "CCO", "--reference", "hf/sto-3g", "--database", "amons.sql"), "ends in .db"),
    ):
        code, _, messages = run(*arguments)
        assert code == 2, arguments
        assert message in messages
    assert list(here.iterdir()) == []


def test_a_query_is_fitted_and_its_curve_shown() -> None:
    pytest.importorskip("tblite")
    common = ("fit", "CCO", "--reference", "gfn2-xtb", "--displaced", "0", "--database", "amons.db")
    common = (*common, "--output", "model")
    code, output, notes = run(*common, "--max-heavy", "3", "--plot", "curve.png")
    assert code == 0, notes
    assert "curve.png: the learning curve" in notes
    found = re.search(r"learned from (\d+) geometries of (\d+) amons at gfn2-xtb, (\d+) of them new", notes)
    assert found is not None
    n_geometries, n_amons, n_new = map(int, found.groups())
    assert n_amons == 5
    assert DatasetFile("amons.db").counts()["labelled"] >= n_new == n_geometries
    header, *rows = output.splitlines()
    assert "change, kcal/mol" in header
    assert [row.split()[0] for row in rows] == ["2", "3"]
    atoms = molecule("CH3CH2OH")
    atoms.calc = AmonsCalculator("model", uncertainty="none")
    energy = atoms.get_potential_energy()
    atoms.calc = TbliteLevel("gfn2-xtb").calculator(atoms)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=0.2)
    assert float(rows[-1].split()[2]) == pytest.approx(energy, abs=0.2)  # of another geometry, RDKit's
    assert np.isfinite(float(rows[-1].split()[3]))
    code, _, notes = run(*common, "--max-heavy", "3")
    assert code == 0
    assert ", 0 of them new" in notes


def test_queries_are_pooled() -> None:
    pytest.importorskip("tblite")
    common = ("--reference", "gfn2-xtb", "--displaced", "0", "--max-heavy", "2", "--database", "amons.db")
    code, output, notes = run("fit", "CO", "CN", *common, "--output", "model")
    assert code == 0, notes
    assert "5 amons at gfn2-xtb" in notes  # methane, water, ammonia, and the two queries
    blocks = output.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == ["CO", "CN"]
    assert all("change, kcal/mol" in block.splitlines()[1] for block in blocks)
    assert "# Amons of 2 queries" in Path("model", "README.md").read_text()
