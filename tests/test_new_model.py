"""The tutorial of ``docs/new_model.md``, followed word for word where nothing else of this process is loaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "new_model.md").read_text(encoding="utf-8")

#: Runs the blocks in order, in one process: Python as one script, commands by the command line's own entry.
FOLLOW = """
import json, shlex, sys
import pytest
from ase.calculators.calculator import get_calculator_class
from ase_mlwave.cli.main import app
from typer.testing import CliRunner

known, imported = get_calculator_class("lennard-jones"), "mlwave_lennard_jones" in sys.modules

names, outputs = {}, []
for language, text in json.loads(sys.argv[1]):
    if language == "python":
        exec(compile(text, "docs/new_model.md", "exec"), names)
    for line in text.splitlines() if language == "bash" else ():
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        outputs.append(done.output)
        assert done.exit_code == 0, done.output
from ase.calculators.fd import calculate_numerical_forces
trimer = names["trimer"].copy()
trimer.rattle(0.2, seed=1)
trimer.calc = names["trimer"].calc
reference = trimer.copy()
reference.calc = names["clusters"][0].calc
found = {
    "epsilon": names["epsilon"] * names["units"].Hartree,
    "sigma": names["sigma"] * names["units"].Bohr,
    "distances": names["trimer"].get_all_distances().tolist(),
    "energy error": abs(trimer.get_potential_energy() - reference.get_potential_energy()),
    "force error": abs(trimer.get_forces() - calculate_numerical_forces(trimer, eps=1e-4)).max(),
    "imported before it was used": imported,
    "options": sorted(known.default_parameters),
    "outputs": outputs,
    "contract": int(pytest.main(["-q", "-p", "no:cacheprovider", "test_contract.py"])),
}
with open("found.json", "w") as file:
    json.dump(found, file)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Write the files of the page, install the package as pip would, run the rest, and return what came out."""
    folder = tmp_path_factory.mktemp("mlwave-lennard-jones")
    for name, text in re.findall(r"^\*\*`([\w./-]+)`\*\*\n\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    _install(folder, project)
    use = PAGE.partition("\n## Use\n")[2].partition("\n## ")[0]
    use = re.sub(r"^\*\*`.*?^```\w+\n.*?^```", "", use, flags=re.MULTILINE | re.DOTALL)  # files are written already
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", use, flags=re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "COLUMNS": "200"}
    command = [sys.executable, "-W", "error::UserWarning", "-c", FOLLOW, json.dumps(blocks)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {**json.loads((folder / "found.json").read_text()), "folder": folder, "log": done.stdout}


def _install(folder: Path, project: dict[str, Any]) -> None:
    """Leave the metadata that an installed package has."""
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    text = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(text)
    for group, points in project["entry-points"].items():
        lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_potential_is_the_one_that_made_the_data(found: dict[str, Any]) -> None:
    assert found["epsilon"] == pytest.approx(0.0104, rel=1e-4)
    assert found["sigma"] == pytest.approx(3.40, rel=1e-5)
    sides = [value for row in found["distances"] for value in row if value]
    assert sides == pytest.approx([2 ** (1 / 6) * 3.40] * 6, abs=2e-3)
    assert found["energy error"] < 1e-8
    assert found["force error"] < 1e-6


def test_commands_know_the_kind(found: dict[str, Any]) -> None:
    trained, card, measured, predicted = found["outputs"]
    assert "model written to runs/argon/model" in trained
    assert "learning curve" not in trained
    assert "# A Lennard-Jones potential for Ar" in card
    assert "energy_mae_meV" in measured
    assert "60 structures -> predicted.extxyz" in predicted
    config = json.loads((found["folder"] / "runs" / "argon" / "model" / "config.json").read_text())
    assert config["kind"] == "lennard-jones"
    assert config["errors"]["energy_mae_meV"] < 0.01


def test_contract_holds_for_the_folder(found: dict[str, Any]) -> None:
    assert found["contract"] == 0, found["log"]


def test_ase_knows_the_name_before_the_package_is_imported(found: dict[str, Any]) -> None:
    assert not found["imported before it was used"]
    assert "device" in found["options"]
