from __future__ import annotations

import subprocess
import sys

import pytest

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


def test_ase_plugin_gives_the_class() -> None:
    code = f"""
from ase._4.plugins import plugins
from ase_mlwave import {CLASS}
(plugin,) = [one for one in plugins.calculators if one.name == "phisnet"]
print(plugin() is {CLASS})
"""
    assert _python(code) == "True"


def test_get_calculator_class_loads_the_class_when_it_is_used() -> None:
    code = """
import sys
import ase_mlwave
from ase.calculators.calculator import Calculator, get_calculator_class
found = get_calculator_class("phisnet")
print(found.__name__, issubclass(found, Calculator), "torch" in sys.modules)
print("energy" in found.implemented_properties)
from ase_mlwave import PhiSNetCalculator
print(get_calculator_class("phisnet") is PhiSNetCalculator)
try:
    found("no-such-model")
except Exception as error:
    print(type(error).__name__)
"""
    assert _python(code).splitlines() == [f"{CLASS} True False", "True", "True", "InputError"]
