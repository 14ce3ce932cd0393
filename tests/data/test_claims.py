from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ase_mlwave.data.claims import FileClaims

ROOT = Path(__file__).parent.parent.parent

HOLDER = """
import sys
from pathlib import Path
from ase_mlwave.data.claims import FileClaims
claims = FileClaims(Path(sys.argv[1]))
print([claims.take(int(row)) for row in sys.argv[2:]], flush=True)
sys.stdin.readline()
"""


@contextmanager
def holder(path: Path, *rows: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Claim rows in another process, until a line is written to it or it is killed."""
    command = [sys.executable, "-c", HOLDER, str(path), *map(str, rows)]
    process = subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("ending", ["killed", "ended"])
def test_a_claim_ends_with_its_process(ending: str, tmp_path: Path) -> None:
    with FileClaims(tmp_path / "data.db") as claims:
        assert claims.take(1)
        with holder(tmp_path / "data.db", 1, 2) as (process, taken):
            assert taken == "[False, True]"
            assert not claims.take(2)
            assert claims.take(3)
            if ending == "killed":
                process.kill()
                process.wait()
            else:
                process.communicate("\n", timeout=300)
            assert claims.take(2)
    assert list(tmp_path.iterdir()) == []


def test_claims_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    first, second, other = FileClaims(path), FileClaims(path), FileClaims(tmp_path / "other.db")
    assert first.take(1)
    assert not first.take(1)
    assert not second.take(1)
    assert other.take(1)
    second.release(1)  # not its own
    assert not second.take(1)
    assert second.take(2)
    with holder(path, 1, 2, 3) as (_, taken):  # closing one must not free what another has
        second.close()
        assert taken == "[False, False, True]"
        with holder(path, 1, 2) as (_, later):
            assert later == "[False, True]"
    first.release(1)
    assert first.take(1)
    first.close()
    first.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_stays_as_long_as_anybody_uses_it(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with holder(path, 7) as (process, _):
        FileClaims(path).close()
        assert [file.name for file in tmp_path.iterdir()] == [".data.db.claims"]
        with FileClaims(path) as claims:
            assert not claims.take(7)
            process.kill()
            process.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_has_no_claims_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    script = """
import os, sys
from pathlib import Path
from ase_mlwave.data.claims import FileClaims
claims = FileClaims(Path(sys.argv[1]))
assert claims.take(1)
child = os.fork()
if child == 0:
    claims.close()  # as an interpreter that ends may do
    with FileClaims(Path(sys.argv[1])) as own:
        os._exit(0 if (own.take(1), own.take(2)) == (False, True) else 1)
assert os.waitpid(child, 0)[1] == 0
with FileClaims(Path(sys.argv[1])) as second:
    assert not second.take(1)
    assert second.take(2)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=environment)
