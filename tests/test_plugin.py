from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.io import read, write

from ase_mlwave.data.ase_format import read_mlwave_npz

ROOT = Path(__file__).parents[1]

CLASS = "PhiSNetCalculator"


def _python(code: str) -> str:
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("first", ["", "import ase_mlwave", "import ase_mlwave.plugin"])
def test_ase_plugins_have_the_calculator(first: str) -> None:
    code = f"""
{first}
import sys
from ase._4.plugins import plugins
(plugin,) = [one for one in plugins.calculators if one.name == "phisnet"]
print(plugin.package, plugin.version, "2106.02347" in plugin.citation, "torch" in sys.modules)
"""
    from ase_mlwave import __version__

    assert _python(code) == f"ase_mlwave {__version__} True False"


def test_ase_gives_the_class_and_loads_it_when_it_is_used() -> None:
    code = """
import sys
import ase_mlwave
from ase.calculators.calculator import Calculator, get_calculator_class
found = get_calculator_class("phisnet")
print(found.__name__, issubclass(found, Calculator), "torch" in sys.modules)
print("energy" in found.implemented_properties, "matplotlib" in sys.modules)
from ase_mlwave import PhiSNetCalculator
print(get_calculator_class("phisnet") is PhiSNetCalculator)
try:
    found("no-such-model")
except Exception as error:
    print(type(error).__name__)
from ase._4.plugins import plugins
print([one() is PhiSNetCalculator for one in plugins.calculators if one.name == "phisnet"])
"""
    assert _python(code).splitlines() == [f"{CLASS} True False", "True False", "True", "InputError", "[True]"]


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the package is installed with the entry points that ``pyproject.toml`` has."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    lines = [
        line for name, group in groups.items() for line in (f"[{name}]", *(f"{k} = {v}" for k, v in group.items()))
    ]
    folder = tmp_path / "site" / "ase_mlwave-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ase-mlwave\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return {**os.environ, "PYTHONPATH": f"{folder.parent}{os.pathsep}{ROOT}"}


def _ase(environment: dict[str, str], folder: Path, *words: str) -> str:
    command = [sys.executable, "-W", "error", "-m", "ase", *words]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_ase_run_knows_the_calculators(installed: dict[str, str], tmp_path: Path) -> None:
    from ase_mlwave import PhiSNetCalculator

    write(tmp_path / "water.xyz", molecule("H2O"))
    _ase(installed, tmp_path, "run", "phisnet", "water.xyz", "-p", "model=phisnet-water", "-o", "out.json")
    (atoms,) = read(tmp_path / "out.json", ":")
    (expected,) = PhiSNetCalculator("phisnet-water").predict([molecule("H2O")], ["energy"])
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-6)


def test_ase_lists_the_calculators_and_the_format(installed: dict[str, str], tmp_path: Path) -> None:
    listed = _ase(installed, tmp_path, "info", "--plugins", "--formats")
    assert {"amons", "phisnet", "qdf", "mlwave-npz"} <= set(listed.replace(",", " ").split())


def test_ase_reads_molecules_with_their_labels(tmp_path: Path) -> None:
    water, kcal = molecule("H2O"), units.kcal / units.mol
    energies, forces = np.array([-1.0, -2.0, -3.0]) / kcal, np.full((3, 3, 3), 0.5) / kcal
    arrays = {"nuclear_charges": water.numbers, "coords": np.stack([water.positions] * 3)}
    old = {"old_indices": np.arange(3), "old_energies": energies, "old_forces": forces}
    np.savez(tmp_path / "rmd17_water.npz", energies=energies, forces=forces, **arrays, **old)
    images = read_mlwave_npz(str(tmp_path / "rmd17_water.npz"), slice(1, None))
    assert [atoms.get_potential_energy() for atoms in images] == pytest.approx([-2, -3], abs=1e-9)
    np.testing.assert_allclose(images[0].get_forces(), 0.5, atol=1e-9)
