from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "pyscf", "lightning", "e3nn", "rdkit")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, ase_mlwave; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
