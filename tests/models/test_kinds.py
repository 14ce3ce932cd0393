"""One table of kinds: entries name what can be imported, other packages bring theirs, and a bad one harms nobody."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.models import kinds
from ase_mlwave.models.kinds import KINDS, Kind, find_kind

ROOT = Path(__file__).parents[2]

Python = Callable[[str], Any]


@pytest.mark.parametrize("name", KINDS)
def test_entry_names_what_exists(name: str) -> None:
    kind = find_kind(name, "a test")
    assert kind.name == name
    calculator = kind.load("calculator")
    assert issubclass(calculator, MlwaveCalculator)
    assert calculator.name == name
    assert callable(kind.load("network"))
    assert callable(kind.load("settings"))
    training = kind.load("training")
    assert training.TrainingSettings.model_fields["kind"].default == name
    assert list(inspect.signature(training.train).parameters) == ["settings", "resume", "progress"]
    assert list(inspect.signature(kind.load("evaluation")).parameters)[:2] == ["calculator", "data"]


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"my.yaml has the unknown kind 'qfd'. Did you mean 'qdf'\? Known are: 'amons'"
    ):
        find_kind("qfd", "my.yaml")


@pytest.mark.parametrize(
    ("part", "home", "message"),
    [
        ("training", None, "models of kind 'x' have no training"),
        (
            "network",
            "no_such_module:Network",
            "the network of the kind 'x', no_such_module:Network, cannot be imported",
        ),
        ("network", "json:Network", "cannot be imported: module 'json' has no attribute 'Network'"),
    ],
)
def test_part_that_is_not_there_is_named(part: str, home: str | None, message: str) -> None:
    parts = {"network": "json:loads", "settings": "json:loads", "calculator": "json:loads"}
    with pytest.raises(InputError, match=message):
        Kind(name="x", **{**parts, part: home}).load(part)


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Run code where another package is installed that brings a good kind and bad ones; return what it prints."""
    (tmp_path / "others.py").write_text(
        "from ase_mlwave.models.kinds import Kind\n"
        "home = 'tests.calculators.morse'\n"
        "good = Kind(name='good', network=f'{home}:MorseNetwork', settings=f'{home}:MorseConfig',\n"
        "            calculator=f'{home}:MorseCalculator', citation='A paper')\n"
    )
    (tmp_path / "broken.py").write_text("raise RuntimeError('out of order')\n")
    points = {
        "one": ["good = others:good", "broken = broken:kind", "renamed = others:good", "shared = others:good"],
        "two": ["shared = others:home", "qdf = broken:kind"],
    }
    for name, lines in points.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text("\n".join(["[ase_mlwave.kinds]", *lines]) + "\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def run(code: str) -> Any:
        command = [sys.executable, "-W", "error", "-c", f"import json, sys\n{code}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_kind_of_another_package_is_sought_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look through all packages takes as long as to load a small model."""
    sought: list[str] = []
    point = EntryPoint("test-morse", "tests.calculators.morse:KIND", kinds.GROUP)
    monkeypatch.setattr(kinds, "entry_points", lambda **which: sought.append(which.get("name", "all")) or [point])
    try:
        assert find_kind("test-morse", "a test") is find_kind("test-morse", "a test")
    finally:
        kinds._brought.cache_clear()
    assert sought == ["test-morse"]
    monkeypatch.setattr(kinds, "entry_points", lambda **which: [])
    for _ in range(2):  # what is missing may be installed
        with pytest.raises(InputError, match="a test has the unknown kind 'test-morse'"):
            find_kind("test-morse", "a test")


def test_kinds_of_other_packages_are_known_and_not_imported_before_they_are_used(python: Python) -> None:
    code = """
import ase_mlwave
from ase.calculators.calculator import get_calculator_class
from ase_mlwave.models.kinds import kind_names
stand_in = get_calculator_class("good")
before = [name for name in ("others", "broken", "torch") if name in sys.modules]
print(json.dumps([kind_names(), before, stand_in.name]))
"""
    assert python(code) == [["amons", "broken", "good", "phisnet", "qdf", "renamed", "shared"], [], "test-morse"]


def test_bad_kind_of_another_package_is_named_and_harms_no_other(python: Python) -> None:
    code = """
import warnings
from ase.calculators.calculator import InputError
from ase_mlwave.models.kinds import all_kinds, find_kind
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    names = [kind.name for kind in all_kinds()]
said = [str(one.message) for one in caught]
try:
    find_kind("broken", "x")
except InputError as error:
    said.append(str(error))
print(json.dumps([names, said, find_kind("qdf", "x").network]))
"""
    names, (broken, renamed, shared, asked), qdf = python(code)
    assert names == ["amons", "good", "phisnet", "qdf"]
    assert broken == asked
    assert "'broken', which the package one 1.0 brings, cannot be loaded: RuntimeError: out of order" in broken
    assert "'renamed', which the package one 1.0 brings, is no Kind of that name" in renamed
    assert "'shared' is brought by one 1.0 and two 1.0" in shared
    assert qdf == KINDS["qdf"].network  # our own goes first


def test_ase_lists_the_kinds_of_other_packages(python: Python) -> None:
    code = """
import warnings
warnings.simplefilter("ignore")
from ase_mlwave.plugin import __ase_plugins__ as plugins
print(json.dumps({one.name: one.citation for one in plugins}))
"""
    plugins = python(code)
    assert plugins.keys() == {"amons", "good", "phisnet", "qdf"}
    assert plugins["good"] == "A paper"
