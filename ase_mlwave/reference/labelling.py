"""Label geometries into a dataset file, in parallel, such that it may be killed at any moment and resumed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Record
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.locking import sole_writer
from ase_mlwave.reference.workers import Outcome, label_one, process_pool

__all__ = ["Progress", "label_geometries"]


@dataclass(frozen=True)
class Progress:
    """Say how far labelling has come."""

    labelled: int
    """Rows with labels, including those from before."""
    failed: int
    """Rows that have failed, including those from before."""
    total: int
    """Rows of the file."""
    n_to_do: int
    """How many this run set out to label."""
    n_done: int
    """How many of those are done, well or badly."""
    last_failure: str = ""
    """Why the latest molecule failed; empty if it did not."""


def label_geometries(
    geometries: Iterable[Record | Atoms],
    path: str | Path,
    level: LevelOfTheory | str,
    *,
    executor: Executor | None = None,
    n_workers: int = 1,
    n_threads: int = 1,
    retry_failed: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> DatasetFile:
    """Label geometries into a dataset file; what the file has already is not done again.

    Parameters
    ----------
    geometries : iterable of Record or Atoms
        Molecules; their own labels are ignored. Equal ones are labelled once.
    path : str or Path
        A new ``.db`` file, or one that an earlier run has left.
    level : LevelOfTheory or str
        Level of theory, such as ``"pbe/def2-svp"``; must be that of the file.
    executor : concurrent.futures.Executor, optional
        Where to run (threads, a Dask client's executor, ...). By default a pool of ``n_workers`` fresh processes; a
        script that calls this needs ``if __name__ == "__main__":``, as for every process pool.
    n_workers : int
        Number of processes; with an ``executor`` the number of molecules in work at a time.
    n_threads : int
        Threads of one worker.
    retry_failed : bool
        Whether molecules that failed in an earlier run are tried again.
    progress : callable, optional
        Called after every molecule.

    Returns
    -------
    DatasetFile
        Its ``counts`` and ``failures`` say what came of it.

    Raises
    ------
    InputError
        If the level is unknown or not that of the file, a number is not positive, or another process is labelling
        into the file.
    KeyboardInterrupt
        On Ctrl-C, after the molecules in work have been finished and stored.

    Notes
    -----
    All molecules are written to the file as ``pending`` before the first is labelled, so the order of the rows does
    not depend on who finishes first, and a run that was killed and resumed leaves the same file as one that was not
    (``test_killed_labelling_resumes_to_the_same_result``).
    A molecule whose worker dies (out of memory, a crash) is tried once more alone, then recorded as failed.
    """
    chosen = LevelOfTheory.parse(level) if isinstance(level, str) else level
    for name, value in (("n_workers", n_workers), ("n_threads", n_threads)):
        if value < 1:
            raise InputError(f"{name} must be at least 1 (got {value}).")
    records = [_unlabelled(geometry) for geometry in geometries]
    with sole_writer(Path(path)):
        file = _open(path, chosen)
        file.add(records)
        _Run(file, chosen, executor, n_workers, n_threads, progress).work(file.pending(retry_failed))
    return file


def _unlabelled(geometry: Record | Atoms) -> Record:
    record = geometry if isinstance(geometry, Record) else record_from_atoms(geometry)
    return replace(record, energy=None, forces=None, matrices={})


def _open(path: str | Path, level: LevelOfTheory) -> DatasetFile:
    """Open or create the file, and refuse one of another level of theory."""
    if not Path(path).exists():
        return DatasetFile.create(path, level.name, level.settings())
    file = DatasetFile(path)
    there = file.metadata.get("level_settings") or level.settings()  # a file converted from elsewhere has none
    if file.level != level.name or there != level.settings():
        raise InputError(
            f"{path} holds labels of the level {file.level!r} ({there}), not {level.name!r} ({level.settings()}). "
            "Choose another file or the same level."
        )
    return file


class _Run:
    """Feed molecules to an executor and store what comes back."""

    def __init__(
        self,
        file: DatasetFile,
        level: LevelOfTheory,
        executor: Executor | None,
        n_workers: int,
        n_threads: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.file = file
        self.level = level
        self.given_executor = executor
        self.n_workers = n_workers
        self.n_threads = n_threads
        self.progress = progress
        self.suspects: deque[int] = deque()  # rows in work when a worker died; tried alone

    def work(self, rows: dict[int, Record]) -> None:
        """Label all rows; returns when each has labels or a reason."""
        self.rows = rows
        self.counts = self.file.counts()
        self.total = sum(self.counts.values())
        # A failed row that is tried again counts as pending until it is done.
        self.counts["failed"] -= len(rows) - self.counts["pending"]
        self.n_done = 0
        queue = deque(rows)
        self._report()
        while queue or self.suspects:
            with ExitStack() as stack:
                executor = self.given_executor or stack.enter_context(process_pool(self.n_workers))
                self._run_until_broken(executor, queue)

    def _run_until_broken(self, executor: Executor, queue: deque[int]) -> None:
        """Keep the executor busy until nothing is left or a worker dies."""
        running: dict[Future[Outcome], int] = {}
        try:
            while queue or self.suspects or running:
                self._submit(executor, queue, running)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._store(running[future], future.result())
                    del running[future]
        except BrokenExecutor:
            if self.given_executor is not None:
                raise
            self._sort_out(running)
        except KeyboardInterrupt:
            for future in running:
                future.cancel()
            for future, row in running.items():
                if not future.cancelled():
                    self._store(row, future.result())
            raise

    def _submit(self, executor: Executor, queue: deque[int], running: dict[Future[Outcome], int]) -> None:
        """Hand out work: one more molecule than there are workers, so that none waits; suspects alone."""
        while self.suspects or queue:
            source, most = (self.suspects, 1) if self.suspects else (queue, self.n_workers + 1)
            if len(running) >= most:
                return
            row = source[0]
            running[executor.submit(label_one, self.level, self.rows[row], self.n_threads)] = row
            source.popleft()  # only now: a dead pool refuses

    def _sort_out(self, running: dict[Future[Outcome], int]) -> None:
        """After a worker's death: store what was finished; a lone molecule was the cause, of several each may be."""
        lost = []
        for future, row in running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self._store(row, future.result())
            else:
                lost.append(row)
        if len(lost) == 1:
            self._store(lost[0], Outcome(None, "the worker process died, for lack of memory or by a crash"))
        else:
            self.suspects.extend(lost)

    def _store(self, row: int, outcome: Outcome) -> None:
        """Write one outcome to the file and report it."""
        if outcome.record is not None:
            self.file.store(row, outcome.record)
        else:
            self.file.fail(row, self.rows[row], outcome.reason)
        self.counts["labelled" if outcome.record is not None else "failed"] += 1
        self.n_done += 1
        self._report(outcome.reason)

    def _report(self, last_failure: str = "") -> None:
        if self.progress is not None:
            labelled, failed = self.counts["labelled"], self.counts["failed"]
            self.progress(Progress(labelled, failed, self.total, len(self.rows), self.n_done, last_failure))
