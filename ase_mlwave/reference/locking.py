"""Keep two processes from labelling into the same file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ase.calculators.calculator import InputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no flock; there the user takes care
    fcntl = None

__all__ = ["sole_writer"]


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold a lock beside a file; the operating system releases it if the process is killed.

    Parameters
    ----------
    path : Path
        The file to be written; the lock is a hidden file beside it, removed afterwards.

    Raises
    ------
    InputError
        If another process holds the lock.
    """
    if fcntl is None:
        yield
        return
    lock = path.with_name(f".{path.name}.labelling")
    descriptor = _acquire(fcntl, lock, path)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(flock: ModuleType, lock: Path, path: Path) -> int:
    """Return the descriptor of the locked file."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            flock.flock(descriptor, flock.LOCK_EX | flock.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise InputError(
                f"another process is labelling into {path}. Wait for it, or give more workers to one process."
            ) from error
        if lock.exists() and os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)  # the former holder has removed the file in between
