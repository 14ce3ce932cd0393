from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from pyscf.scf import hf
from typer.testing import CliRunner

import ase_mlwave.demo
from ase_mlwave import PhiSNetCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.database import read_database
from ase_mlwave.models import folder as zoo
from ase_mlwave.models.card import ERRORS_BEGIN, ERRORS_END
from ase_mlwave.models.folder import ModelFolder

MODEL = "phisnet-water"
HELD_OUT = Path(ase_mlwave.demo.__file__).with_name("held_out_waters.xyz")
LABELLED = Path(__file__).parents[1] / "data" / "files" / "waters_pbe_def2svp.db"


@pytest.fixture(autouse=True)
def _wide_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(hf, "MUTE_CHKFILE", True)


def _invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return result.exit_code, result.output


def test_energies_and_forces_are_measured_where_there_are_no_matrices(tmp_path: Path) -> None:
    out = tmp_path / "new" / "figures.json"
    code, output = _invoke(MODEL, HELD_OUT, "--limit", "4", "--no-cycles", "-o", out)
    assert code == 0, output
    assert "note: no Hamiltonians in the data" in output
    assert "note: the file does not say its level of theory" in output
    figures = json.loads(out.read_text())
    assert "hamiltonian_mae_uHa" not in figures
    waters = read(HELD_OUT, ":4")
    for level in ("wavefunction", "functional"):
        results = PhiSNetCalculator(MODEL, energy=level).predict(waters)
        energy = [1e3 * abs(r["energy"] - a.get_potential_energy()) for r, a in zip(results, waters, strict=True)]
        forces = [1e3 * np.abs(r["forces"] - a.get_forces()) for r, a in zip(results, waters, strict=True)]
        assert figures[f"{level}_energy_mae_meV"] == pytest.approx(np.mean(energy), rel=1e-3, abs=1e-4)
        assert figures[f"{level}_energy_max_meV"] == pytest.approx(np.max(energy), rel=1e-3, abs=1e-4)
        assert figures[f"{level}_forces_mae_meV_per_A"] == pytest.approx(np.mean(forces), rel=1e-3, abs=1e-4)
        assert figures[f"{level}_forces_max_meV_per_A"] == pytest.approx(np.max(forces), rel=1e-3, abs=1e-4)


def test_matrices_levels_and_cycles_of_a_split_are_measured() -> None:
    code, output = _invoke(MODEL, LABELLED, "--split", "test", "--level", "scf")
    assert code == 0, output
    figures = dict(re.findall(r"(\w+) +│ +([-\d.e+]+) ", output))
    assert float(figures["hamiltonian_mae_uHa"]) < 20
    assert float(figures["orbital_similarity_percent"]) > 99.9
    assert float(figures["scf_energy_mae_meV"]) < 1e-3
    assert float(figures["scf_cycles_model_mean"]) < float(figures["scf_cycles_minao_mean"])
    assert float(figures["scf_worse_than_default"]) == 0
    assert "wavefunction_energy_mae_meV" not in figures
    assert "split test" in output
    assert output.count("note: ") == 1  # these labels lack the response of the grid, and nothing else
    assert "grid_response=false" in output


def test_hamiltonian_error_is_the_mean_over_elements() -> None:
    records = read_database(LABELLED).records[:2]
    calc = PhiSNetCalculator(MODEL)
    errors = [np.abs(calc.hamiltonian(atoms_from_record(r)) - r.matrices["hamiltonian"]).mean() for r in records]
    code, output = _invoke(MODEL, LABELLED, "--limit", "2", "--no-cycles", "--level", "wavefunction")
    assert code == 0, output
    printed = float(re.findall(r"hamiltonian_mae_uHa +│ +([\d.]+)", output)[0])
    assert printed == pytest.approx(1e6 * np.mean(errors), rel=1e-3)


def test_cycles_need_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "bare.xyz", molecule("H2O"))
    code, output = _invoke(MODEL, tmp_path / "bare.xyz")
    assert code == 0, output
    assert "scf_cycles_model_mean" in output
    assert output.count("no energies and forces in the data") == 1
    code, output = _invoke(MODEL, tmp_path / "bare.xyz", "--no-cycles")
    assert (code, "nothing to measure" in output) == (2, True), output


def test_figures_are_written_into_the_card(tmp_path: Path) -> None:
    folder = shutil.copytree(zoo.locate(MODEL), tmp_path / "mine")
    model = ModelFolder.load(folder)
    replace(model, card=f"# A card\n\n{ERRORS_BEGIN}\n{ERRORS_END}\n\nThe end.").save(folder)
    arguments = (folder, LABELLED, "--split", "valid", "--no-cycles", "--level", "wavefunction", "--write-card")
    code, output = _invoke(*arguments)
    assert code == 0, output
    card = (folder / "README.md").read_text()
    assert re.search(r"\| hamiltonian_mae_uHa \| [\d.]+ \|", card)
    assert card.startswith("# A card")
    assert card.endswith("The end.\n")
    assert "--split valid" in card
    errors = ModelFolder.load(folder).config.errors
    assert errors["hamiltonian_mae_uHa"] > 0
    assert _invoke(*arguments)[0] == 0
    assert (folder / "README.md").read_text() == card  # again gives the same, not a second table


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "xenon.xyz", [molecule("H2O"), Atoms("Xe")])
    ion = molecule("H2O")
    ion.info["charge"] = 2
    write(tmp_path / "ion.xyz", ion, format="extxyz")
    other = molecule("H2O")
    other.info["level"] = "hf/def2-svp"
    write(tmp_path / "other.xyz", other, format="extxyz")
    (tmp_path / "what.ever").write_text("nothing")
    for arguments, message in (
        ((MODEL, tmp_path / "absent.xyz"), "there is no data file"),
        ((MODEL, tmp_path / "what.ever"), "known kinds of data file are"),
        ((MODEL, tmp_path / "xenon.xyz"), "molecule 1 of .*does not know Xe"),
        ((MODEL, tmp_path / "ion.xyz"), "made for charge 0"),
        ((MODEL, tmp_path / "other.xyz"), "labelled at 'hf/def2-svp' but the model was made for 'pbe/def2-svp'"),
        ((MODEL, LABELLED, "--split", "tset"), "no split 'tset': it has 'train'"),
        ((MODEL, LABELLED, "--level", "wavefuntion"), "Did you mean 'wavefunction'"),
        (("phisnet-watre", LABELLED), "Did you mean 'phisnet-water'"),
    ):
        code, output = _invoke(*arguments)
        assert code == 2, output
        *read, error = output.splitlines()
        assert re.search(f"^error: .*{message}", error), output
        assert all(" structures, " in line for line in read)
        assert len(read) <= 1
