"""Where labels are computed: processes that end with their parent, a given executor, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path

from ase.calculators.calculator import InputError
from threadpoolctl import threadpool_limits

from ase_mlwave.data.failures import ENVIRONMENT
from ase_mlwave.data.record import Record
from ase_mlwave.reference.failures import kind_of_error
from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["DEATH", "Outcome", "Workers", "dask_workers", "is_death", "label_one", "process_pool"]

#: Seconds to wait for an answer of a Dask scheduler.
_PATIENCE = 20


@dataclass(frozen=True)
class Outcome:
    """What came of one molecule: its labels, or why there are none."""

    record: Record | None
    reason: str = ""
    kind: str = ""
    """Of the failure: ``"input"``, ``"convergence"`` or ``"environment"``."""


#: What becomes of a molecule that kills its worker.
DEATH = Outcome(None, "the worker process died, for lack of memory or by a crash", ENVIRONMENT)


@dataclass(frozen=True)
class Workers:
    """Say where labels are computed, and how much comes back.

    Parameters
    ----------
    executor : concurrent.futures.Executor, optional
        Where to run; by default a pool of fresh processes.
    n_workers : int
        Number of processes; with an ``executor`` the number of molecules in work at a time.
    n_threads : int
        Threads of one worker.
    matrices : bool
        Whether Hamiltonians are kept, which grow with the square of a molecule.

    Raises
    ------
    InputError
        If a number is not positive.
    """

    executor: Executor | None = None
    n_workers: int = 1
    n_threads: int = 1
    matrices: bool = True

    def __post_init__(self) -> None:
        for name, value in (("n_workers", self.n_workers), ("n_threads", self.n_threads)):
            if value < 1:
                raise InputError(f"{name} must be at least 1 (got {value}).")

    @property
    def n_at_once(self) -> int:
        """Molecules to hand out at a time: to own processes one more than there are, so that none waits.

        Dask keeps results on the worker until they are fetched. A worker that gets nothing new before that cannot be
        killed in its next molecule and take the last one's labels with it.
        """
        return self.n_workers + (self.executor is None)


def label_one(level: LevelOfTheory, record: Record, n_threads: int, matrices: bool = True) -> Outcome:
    """Label one molecule; whatever goes wrong becomes a reason.

    Parameters
    ----------
    level : LevelOfTheory
        What to compute.
    record : Record
        The molecule.
    n_threads : int
        Most threads that linear algebra and integrals may use.
    matrices : bool
        Whether the matrices of the labels are sent back.

    Returns
    -------
    Outcome
    """
    try:
        level.load()
        with threadpool_limits(limits=n_threads):
            label = level.label(record)
        return Outcome(label if matrices else replace(label, matrices={}))
    except Exception as error:  # one molecule must not stop the others
        return Outcome(None, f"{type(error).__name__}: {error}", kind_of_error(error))


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


@contextmanager
def dask_workers(address: str, n_workers: int | None = None, n_threads: int = 1) -> Iterator[Workers]:
    """Connect to a Dask cluster for the time of a ``with`` block.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``"tcp://node1:8786"``, or the path of its scheduler file (``.json``).
    n_workers : int, optional
        Number of molecules in work at a time; by default the number of threads of all workers that are there now.
    n_threads : int
        Threads of one label.

    Yields
    ------
    Workers
        A worker that dies costs nothing but time: Dask runs what it had on others, and what is lost there
        ``LabellingRun`` tries once more alone.

    Raises
    ------
    InputError
        If Dask is not installed, or there are no workers and no number was given.
    ConnectionError
        If no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "a Dask cluster needs dask.distributed, which is not installed. Install it: pip install 'ase-mlwave[dask]'."
        ) from error
    is_file = address.endswith(".json")
    try:
        if is_file and not Path(address).is_file():  # the client would wait for it
            raise FileNotFoundError("there is no such file")
        target = {"scheduler_file" if is_file else "address": address}
        client = Client(**target, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address} ({error}). Start one with `dask scheduler`, and workers with "
            "`dask worker ADDRESS --nthreads 1`."
        ) from error
    with client:
        capacity = sum(client.nthreads().values())
        if not capacity and n_workers is None:
            raise InputError(
                f"the Dask cluster at {address} has no workers yet. Start some with `dask worker {address} --nthreads "
                "1`, or say how many molecules to hand out at a time."
            )
        yield Workers(client.get_executor(pure=False), n_workers or capacity, n_threads)


def is_death(error: BaseException) -> bool:
    """Tell whether an error of a future says that the task's workers died, one after the other."""
    distributed = sys.modules.get("distributed")  # whoever has such a future has imported it
    return distributed is not None and isinstance(error, distributed.KilledWorker)
