"""Labelling in processes of their own, to be watched, interrupted and killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ase_mlwave.data.database import DatasetFile

ROOT = Path(__file__).parents[2]


@contextmanager
def script(folder: Path, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a folder; it is killed at the end if it still runs."""
    path = folder / f"script_{len(list(folder.glob('script_*.py')))}.py"
    path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, path.name, *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str], timeout: float = 300) -> None:
    """Wait for a script, which must succeed."""
    _, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors


def wait_for_labels(path: Path | str, n: int, timeout: float = 300) -> None:
    """Wait until a dataset has labels."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if DatasetFile(path).counts()["labelled"] >= n:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"no {n} labels within {timeout} s")


def noted(folder: Path) -> tuple[Counter[str], set[str]]:
    """Return how often each molecule was labelled by ``levels_for_tests.noted``, and in which processes."""
    lines = [line.split() for line in (folder / "labels.txt").read_text().splitlines()]
    return Counter(index for index, _ in lines), {process for _, process in lines}
