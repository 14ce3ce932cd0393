"""The recipe of the conda package asks for what ``pyproject.toml`` asks for."""

from __future__ import annotations

import tomllib
from typing import Any

import yaml
from packaging.requirements import Requirement

import ase_mlwave
from tests.commands import ROOT

RECIPE: dict[str, Any] = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Packages that conda-forge calls otherwise.
NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch", "vesin": "python-vesin"}


def test_conda_package_has_the_dependencies_of_the_wheel() -> None:
    wheel = [Requirement(line) for line in PROJECT["dependencies"]]
    wanted = {f"{NAMES.get(one.name, one.name)} {one.specifier}" for one in wheel}
    assert {*RECIPE["requirements"]["run"]} == wanted | {f"python {PROJECT['requires-python']}"}


def test_conda_package_has_the_version_and_the_command_of_the_wheel() -> None:
    assert RECIPE["context"]["version"] == ase_mlwave.__version__
    (script,) = PROJECT["scripts"].items()
    assert RECIPE["build"]["python"]["entry_points"] == [" = ".join(script)]
    assert RECIPE["about"]["summary"] == PROJECT["description"]
