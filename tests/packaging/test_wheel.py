from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from ase.build import molecule

from ase_mlwave.models import folder as zoo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and from it the wheel, with the build back end that is installed: nothing is downloaded."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an empty environment.

    The dependencies are not downloaded again: a path file shows the environment the packages of this one. It does not
    lead back to the checkout, because Python does not follow the path files (the editable install is one) of a folder
    that it knows from a path file.
    """
    environment = tmp_path_factory.mktemp("empty") / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment), cwd=ROOT)
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel), cwd=ROOT)
    return python


def _run(*command: str, cwd: Path) -> str:
    # PYTHONPATH may lead to the checkout.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_sdist_has_what_a_wheel_is_built_from_and_no_data(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "PKG-INFO"} <= names
    assert {f"models/{model}/model.safetensors" for model in zoo.list_models()} <= names
    assert not [name for name in names if name.startswith(("datasets", "docs", ".git/"))]


def test_wheel_has_the_package_and_the_zoo_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ase_mlwave"}
    assert "ase_mlwave/py.typed" in names
    for model in zoo.list_models():
        for file in ("config.json", "model.safetensors", "README.md"):
            assert f"ase_mlwave/shipped_models/{model}/{file}" in names


def test_installed_wheel_computes_what_the_checkout_computes(python: Path, tmp_path: Path) -> None:
    code = """
import ase_mlwave
from ase.build import molecule
atoms = molecule("H2O")
atoms.calc = ase_mlwave.PhiSNetCalculator("phisnet-water", device="cpu")
print(ase_mlwave.__file__, atoms.get_potential_energy())
"""
    where, energy = _run(str(python), "-c", code, cwd=tmp_path).split()
    assert Path(where).is_relative_to(python.parents[1])
    from ase_mlwave import PhiSNetCalculator

    atoms = molecule("H2O")
    atoms.calc = PhiSNetCalculator("phisnet-water", device="cpu")
    assert float(energy) == pytest.approx(atoms.get_potential_energy(), abs=1e-8)


def test_installed_command_lists_the_zoo(python: Path, tmp_path: Path) -> None:
    listed = _run(str(python.parent / "mlwave"), "models", cwd=tmp_path)
    assert all(name in listed for name in zoo.list_models())


@pytest.mark.slow
def test_first_lines_of_the_readme_run_where_the_wheel_is_installed(python: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block, *_) = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    energy, gap = _run(str(python), "-W", "ignore", "-c", block, cwd=tmp_path).splitlines()
    assert re.match(r"-31\d\d\.\d+ eV", energy)
    assert gap.startswith("gap ")
