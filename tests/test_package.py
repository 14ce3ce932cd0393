from __future__ import annotations

import resource
import subprocess
import sys

import pytest

import ase_mlwave

HEAVY = ("torch", "pyscf", "lightning", "e3nn", "rdkit", "scipy.spatial", "matplotlib")


def _python(code: str) -> str:
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert _python(f"import sys, ase_mlwave; print([name for name in {HEAVY!r} if name in sys.modules])") == "[]"


def test_workers_that_label_load_no_torch() -> None:
    """They start in less than half of the time, and there may be as many as cores."""
    assert _python("import sys, ase_mlwave.reference.workers; print('torch' in sys.modules)") == "False"


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from ase_mlwave.cli.main import app
print(CliRunner().invoke(app, ["--help"]).exit_code, [name for name in {HEAVY!r} if name in sys.modules])
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert _python(code) == "0 []"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5  # processor time, 0.5 s measured


def test_public_names_are_listed_and_others_refused() -> None:
    assert set(ase_mlwave.__all__) <= set(dir(ase_mlwave))
    with pytest.raises(AttributeError, match="no attribute 'PhisnetCalculator'"):
        _ = ase_mlwave.PhisnetCalculator


def test_public_names_can_be_loaded() -> None:
    for name in ase_mlwave.__all__:
        assert getattr(ase_mlwave, name) is not None
