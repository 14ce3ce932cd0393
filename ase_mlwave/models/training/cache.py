"""Arrays that are computed once and kept on disk, one file for each molecule, named by all that they depend on."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from ase_mlwave.reference.workers import process_pool

__all__ = ["Arrays", "Cache", "fill"]

Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")

#: Fewer than these are computed sooner than the processes that would compute them start.
_FEW = 200
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by mlwave train, which makes it again if removed.\n"


class Cache:
    """Keep arrays in a folder.

    Parameters
    ----------
    folder : Path
        Made where there is none; runs may share it, also at the same time.

    Notes
    -----
    A file is written under another name and then renamed, so that an interrupt leaves it whole or not at all; it holds
    a checksum, and one that is damaged counts as missing (``test_damaged_entry_is_made_again``). Files are safetensors:
    reading executes nothing. All of it may be removed at any time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        tag = folder / "CACHEDIR.TAG"  # backups leave such folders out
        if not tag.exists():
            tag.write_text(_TAG, encoding="utf-8")

    @staticmethod
    def key(**facts: Any) -> str:
        """Name an entry by all that its content depends on, JSON types."""
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def path(self, key: str) -> Path:
        """Return where an entry is."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> Arrays | None:
        """Return an entry; None where there is none, or it is damaged."""
        try:
            with safe_open(self.path(key), "np") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
                stated = (file.metadata() or {}).get("checksum")
        except (OSError, SafetensorError):
            return None
        return arrays if stated == _checksum(arrays) else None

    def write(self, key: str, arrays: Arrays) -> None:
        """Write an entry in one step."""
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # the order that files have
        path = self.path(key)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{uuid4().hex}")
        save_file(arrays, partial, metadata={"checksum": _checksum(arrays)})
        partial.replace(path)


def fill(
    cache: Cache,
    inputs: Mapping[str, T],
    compute: Callable[[T], Arrays],
    *,
    n_workers: int,
    progress: Callable[[int], None],
) -> None:
    """Compute the entries that a cache lacks.

    Parameters
    ----------
    cache : Cache
        What is there stays.
    inputs : mapping
        Key -> what the entry is computed from.
    compute : callable
        Gives the arrays of an entry; it and what it gets must be picklable.
    n_workers : int
        Processes; few entries are computed in this one.
    progress : callable
        Called with the number of entries done since the last call, those that are there among them.
    """
    missing = [key for key in inputs if not cache.path(key).exists()]
    progress(len(inputs) - len(missing))
    if n_workers == 1 or len(missing) < _FEW:
        for key in missing:
            cache.write(key, compute(inputs[key]))
            progress(1)
        return
    pool = process_pool(n_workers)
    try:
        jobs = (pool.submit(_fill_one, cache, key, compute, inputs[key]) for key in missing)
        for job in _in_flight(jobs, 2 * n_workers):
            job.result()
            progress(1)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_flight(jobs: Iterator[T], n: int) -> Iterator[T]:
    """Start jobs n ahead of the one that is waited for, whose arguments then take little memory."""
    started = deque(islice(jobs, n))
    while started:
        yield started.popleft()
        started.extend(islice(jobs, 1))


def _fill_one(cache: Cache, key: str, compute: Callable[[T], Arrays], item: T) -> None:
    with threadpool_limits(limits=1):
        cache.write(key, compute(item))


def _checksum(arrays: Arrays) -> str:
    """Sum up names, shapes and bytes."""
    total = 0
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(array.tobytes(), zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total))
    return f"{total:08x}"
