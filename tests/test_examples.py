"""Every example runs as a user runs it: a script in an empty folder."""

from __future__ import annotations

import io
import os
import re
import runpy
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from ase_mlwave.models.folder import ModelFolder, TrainingData
from tests.commands import check_command, mlwave_lines
from tests.models.qdf.networks import random_network

EXAMPLES = Path(__file__).parents[1] / "examples"


def _run(name: str, folder: Path, *arguments: str) -> str:
    """Run a script in this process, in which the libraries that take seconds to load are loaded."""
    script, output = str(EXAMPLES / name), io.StringIO()
    given = patch.object(sys, "argv", [script, *arguments])
    with chdir(folder), redirect_stdout(output), given, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
        runpy.run_path(script, run_name="__main__")
    return output.getvalue()


def _run_afresh(name: str, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", str(EXAMPLES / name), *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_all_examples_are_tested() -> None:
    tested = set(re.findall(r'_run(?:_afresh)?\("(\w+\.py)"', Path(__file__).read_text(encoding="utf-8")))
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_optimise(tmp_path: Path) -> None:
    lines = _run_afresh("optimise.py", tmp_path).splitlines()
    shapes = [[float(x) for x in re.findall(r"(?:O-H|H-O-H|E) (-?[\d.]+)", line)] for line in lines[:3]]
    for bond, angle, energy in shapes[:2]:
        assert bond == pytest.approx(shapes[2][0], abs=0.005)
        assert angle == pytest.approx(shapes[2][1], abs=0.3)
        assert energy == pytest.approx(shapes[2][2], abs=3e-3)
    distance, threshold = map(float, re.findall(r"[\d.]+", lines[3]))
    assert distance < threshold


def test_infrared(tmp_path: Path) -> None:
    output = _run("infrared.py", tmp_path)
    lines = [[float(f) for f in re.findall(r"\d{4}", line)] for line in re.findall(r"SVP|DZ +(.*) 1/cm", output)]
    assert lines[-1] == pytest.approx([1691, 3825, 3931], abs=4)  # CCSD(T)'s own, docs/coupled_cluster.md
    assert (tmp_path / "infrared.png").read_bytes().startswith(b"\x89PNG")


def test_dynamics(tmp_path: Path) -> None:
    output = _run("dynamics.py", tmp_path)
    assert "101 steps" in output
    assert float(re.findall(r"\+- ([\d.]+) meV", output)[0]) < 2
    assert (tmp_path / "water.traj").is_file()


def test_warm_start(tmp_path: Path) -> None:
    output = _run("warm_start.py", tmp_path)
    cycles = [(int(a), int(b)) for a, b in re.findall(r"(\d+) +(\d+)$", output, flags=re.MULTILINE)]
    assert len(cycles) == 4
    assert all(warm <= default for default, warm in cycles)
    assert cycles[0][1] < cycles[0][0]
    assert "stretched: the model cannot guess, PySCF's 'minao' guess is used" in output
    assert "InputError: the model does not know He" in output


@pytest.mark.slow
def test_thermochemistry(tmp_path: Path) -> None:
    """The energy of PBE/def2-SVP between these geometries is -37.89 kJ/mol."""
    output = _run("thermochemistry.py", tmp_path)
    entropies = [float(value) for value in re.findall(r" S +([\d.]+) J", output)]
    assert entropies == pytest.approx([267, 270], abs=2)
    enthalpy, rest, free = map(float, re.findall(r"H (\S+), -TS (\S+), G (\S+) ", output)[0])
    assert enthalpy == pytest.approx(-36.6, abs=0.5)
    assert free == pytest.approx(enthalpy + rest, abs=0.11)


def test_orbitals(tmp_path: Path) -> None:
    output = _run("orbitals.py", tmp_path)
    assert 5 < float(re.findall(r"gap: ([\d.]+) eV", output)[0]) < 9
    assert {path.name for path in tmp_path.iterdir()} == {"density.cube", "homo.cube", "orbitals.png"}
    assert (tmp_path / "orbitals.png").read_bytes().startswith(b"\x89PNG")


def test_density(tmp_path: Path) -> None:
    """With random weights: the figures are not those of the shipped model, what they obey is the same."""
    data = TrainingData(source="none: random weights", sha256="0" * 64, n_records=1)
    model = ModelFolder.pack("qdf", random_network(seed=3), training_data=data, card="# Random weights")
    (tmp_path / "run").mkdir()
    output = _run("density.py", tmp_path / "run", str(model.save(tmp_path / "small")))
    rows = {}
    for name in ("PBE/def2-SVP", "learned", "free atoms, added up"):
        (figures,) = re.findall(rf"^{name} +(\d.*)$", output, flags=re.MULTILINE)
        rows[name.partition(",")[0]] = [float(figure) for figure in re.findall(r"[\d.]+", figures)]
    assert [row[0] for row in rows.values()] == pytest.approx([24, 24, 24], abs=1e-3)
    assert rows["PBE/def2-SVP"][1] == pytest.approx(3.75, abs=0.05)  # the experiment says 3.73 D
    assert rows["free atoms"][1] == pytest.approx(0, abs=0.01)
    assert 0.05 < rows["free atoms"][2] < 0.2 < rows["learned"][2] < 2
    for row in rows.values():
        assert sum(row[3:]) == pytest.approx(row[2], abs=2e-3)
    assert "farther from PBE's than free atoms" in output
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"density.cube", "density.png"}
    assert (tmp_path / "run/density.png").read_bytes().startswith(b"\x89PNG")


def test_lcao_is_a_gcn(tmp_path: Path) -> None:
    output = _run("lcao_is_a_gcn.py", tmp_path)
    differences = [float(x) for x in re.findall(r"^  (?:psi|S|S C):.* ([\d.e-]+)$", output, flags=re.MULTILINE)]
    assert len(differences) == 4
    assert max(differences) < 1e-13
    assert float(re.findall(r"<psi\|psi>:.* ([\d.e-]+)$", output, flags=re.MULTILINE)[0]) < 1e-3
    # Pyrrole's occupied orbitals: 9 a1, 6 b2 (odd), 2 b1 and 1 a2 (pi).
    assert "nothing of 3 (pi)" in output
    assert "nothing of 6 more (odd)" in output
    rows = re.findall(r"^  (?:one|two).*? ([\d.]+e.\d+) +([\d.]+e.\d+)$", output, flags=re.MULTILINE)
    holds = [tuple(float(x) < 1e-11 for x in row) for row in rows]
    assert holds == [(True, True), (True, False), (True, False), (False, False)]
    assert (tmp_path / "lcao_is_a_gcn.png").read_bytes().startswith(b"\x89PNG")


def test_learning_curve(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    output = _run("learning_curve.py", tmp_path)
    rows = re.findall(r"^ +(\d+) +(\d+) +(-?[\d.]+)  \+- ([\d.]+)$", output, flags=re.MULTILINE)
    assert [int(row[0]) for row in rows] == [2, 3, 4, 5, 6, 7]
    errors, claims = [abs(float(row[2])) for row in rows], [float(row[3]) for row in rows]
    assert errors[-1] < 1 < 50 < errors[0]  # kcal/mol; the ring comes with six, and nothing foretells it
    assert all(error < 3 * claim for error, claim in zip(errors[-2:], claims[-2:], strict=True))
    assert "c1ccccc1" in output
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_how_many(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    output = _run("how_many.py", tmp_path, "NH3", "--numbers", "5", "20")
    rows = [[float(x) for x in row.split()] for row in re.findall(r"^ +\d+ +[\d.]+ +[\d.]+$", output, re.MULTILINE)]
    assert [row[0] for row in rows] == [5, 20]
    assert rows[1][1] < rows[0][1] / 2
    assert rows[1][2] < rows[0][2] / 2
    assert (tmp_path / "how_many.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_drug(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    output = _run("drug.py", tmp_path)
    distances = [float(x) for x in re.findall(r"minimum ([\d.]+) A", output)]
    assert len(distances) == 2
    assert max(distances) < 0.1
    error, claim = map(float, re.findall(r"energy (-?[\d.]+) kcal/mol, claimed \+- ([\d.]+)", output)[0])
    assert abs(error) < max(5, 3 * claim)


def test_drug_orbitals(tmp_path: Path) -> None:
    """With a molecule that is smaller than a drug, so that PySCF takes seconds."""
    output = _run("drug_orbitals.py", tmp_path, "CO")
    rows = re.findall(r"^(.+?) +(-?[\d.]+) +(-?[\d.]+) +([+-][\d.]+)$", output, flags=re.MULTILINE)
    assert [name for name, *_ in rows] == [
        "highest occupied orbital (eV)",
        "lowest empty orbital (eV)",
        "gap (eV)",
        "dipole moment (D)",
    ]
    assert max(abs(float(error)) for *_, error in rows) < 0.5
    assert float(re.findall(r"Mulliken charges \(e\) +mean absolute error ([\d.]+)", output)[0]) < 0.05
    written = {"drug_orbitals.png", "density.cube", "homo.cube", "lumo.cube"}
    assert {path.name for path in tmp_path.iterdir()} == written
    assert (tmp_path / "drug_orbitals.png").read_bytes().startswith(b"\x89PNG")


def test_commands_of_the_readme_are_understood() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    lines = mlwave_lines(text)
    assert len(lines) >= 10
    for line in lines:
        check_command(*line)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (EXAMPLES / link.partition("#")[0]).exists()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_settings_are_understood_and_named_in_the_readme(path: Path) -> None:
    if path.parent.name != "recipe":  # of mlwave run, tests/cli/test_run.py
        check_command("train", str(path))
    assert f"{path.parent.name}/{path.name}" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_water_dynamics(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    output = _run("water_dynamics.py", tmp_path)
    assert float(re.findall(r"\+- ([\d.]+) meV", output)[0]) < 5
    assert float(re.findall(r"on the way: (\d+) meV/A", output)[0]) < 150


@pytest.mark.slow
def test_many_waters(tmp_path: Path) -> None:
    pytest.importorskip("torch_sim")
    output = _run("many_waters.py", tmp_path)
    energies = [float(x) for x in re.findall(r"Angstrom, E (-[\d.]+) eV", output)]
    assert energies == pytest.approx([-2075.485] * 4, abs=1e-3)
    drifts = [float(x) for x in re.findall(r"([+-][\d.]+) meV", output)]
    assert len(drifts) == 4
    assert max(map(abs, drifts)) < 3


def test_hbn_carbon(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    output = _run("hbn_carbon.py", tmp_path)
    assert "C2B15N15" in output
    energies = [float(e) for e in re.findall(r"^ +\d+ +\d+ +(-[\d.]+)$", output, flags=re.MULTILINE)]
    assert len(energies) == 4
    assert abs(energies[-1] - energies[-2]) < 0.1 < abs(energies[1] - energies[0])
    assert "would help" in output
