"""What runs in a worker process: one label at a time, on few threads, and never longer than the parent lives."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait

from threadpoolctl import threadpool_limits

from ase_mlwave.data.record import Record
from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["Outcome", "label_one", "process_pool"]


@dataclass(frozen=True)
class Outcome:
    """What came of one molecule: its labels, or why there are none."""

    record: Record | None
    reason: str = ""


def label_one(level: LevelOfTheory, record: Record, n_threads: int) -> Outcome:
    """Label one molecule; whatever goes wrong becomes a reason.

    Parameters
    ----------
    level : LevelOfTheory
        What to compute.
    record : Record
        The molecule.
    n_threads : int
        Most threads that linear algebra and integrals may use.

    Returns
    -------
    Outcome
    """
    try:
        level.load()
        with threadpool_limits(limits=n_threads):
            return Outcome(level.label(record))
    except Exception as error:  # one molecule must not stop the others
        return Outcome(None, f"{type(error).__name__}: {error}")


def process_pool(n_workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes that ignore Ctrl-C and end with their parent.

    Parameters
    ----------
    n_workers : int
        Number of processes.

    Raises
    ------
    RuntimeError
        If the processes cannot start.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_workers, mp_context=context, initializer=_start_worker)
    try:
        pool.submit(os.getpid).result()
    except BrokenExecutor as error:
        raise RuntimeError(
            "the worker processes cannot start. A script that labels in processes needs its calls under "
            '`if __name__ == "__main__":`; or give another executor.'
        ) from error
    return pool


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent does (a killed parent cannot say so)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
