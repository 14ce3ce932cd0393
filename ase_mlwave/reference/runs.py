"""One process's part in labelling a dataset: claim rows, feed them to an executor, store what comes back."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass

from ase.calculators.calculator import CalculationFailed

from ase_mlwave.data.claims import Claims
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.failures import CONVERGENCE, ENVIRONMENT, INPUT, describe, n_runs_of_reason
from ase_mlwave.data.record import Record
from ase_mlwave.data.rows import FAILED, LABELLED, PENDING
from ase_mlwave.reference.failures import kind_of_error
from ase_mlwave.reference.interrupts import held_interrupts
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.workers import DEATH, Outcome, Workers, is_death, label_one, process_pool

__all__ = ["LabellingRun", "Progress"]

#: Seconds between two looks at what others have in work, and whether Ctrl-C was pressed.
_PAUSE = 0.3
#: Times that a molecule is tried in one run, by the kind of its failure.
_TRIES = {INPUT: 1, CONVERGENCE: 2, ENVIRONMENT: 3}
#: Failures of the machine, with no label in between, after which it is not asked again for each molecule.
_PATIENCE = 8
#: Seconds between tries to write to the dataset.
_PAUSES_OF_WRITING = (1.0, 5.0)


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
    """How many this run set out to see labelled."""
    n_done: int
    """How many of those are done, well or badly, here or in another process."""
    last_failure: str = ""
    """Why the latest molecule failed; empty if it did not."""
    stage: str = "labelling"
    """What is being done; ``n_to_do`` and ``n_done`` count it."""


class LabellingRun:
    """Feed molecules to an executor and store what comes back.

    Parameters
    ----------
    file : DatasetFile
        Where rows are.
    level : LevelOfTheory
        What is computed.
    claims : Claims
        Open, of this file.
    workers : Workers
        Where to run.
    progress : callable, optional
        Called after every molecule.
    """

    def __init__(
        self,
        file: DatasetFile,
        level: LevelOfTheory,
        claims: Claims,
        workers: Workers,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.file = file
        self.level = level
        self.claims = claims
        self.workers = workers
        self.progress = progress
        self.ready: deque[int] = deque()  # claimed rows
        self.suspects: deque[int] = deque()  # claimed rows that failed, or were in work when a worker died
        self.alone: int | None = None  # the one of them that is in work
        self.tries: Counter[int] = Counter()
        self.n_of_machine = 0  # failures of the machine since the last label
        self.elsewhere: deque[int] = deque()  # rows that others have claimed and this run waits for

    def work(self, requested: Mapping[int, Record], leftover: Mapping[int, Record]) -> None:
        """Label rows; return when each has labels or a reason.

        Parameters
        ----------
        requested : mapping of int to Record
            Rows to be seen labelled, whoever does it.
        leftover : mapping of int to Record
            Rows to label after those, unless somebody is at them.

        Raises
        ------
        CalculationFailed
            If a given executor cannot run what it is given, or loses it.
        KeyboardInterrupt
            On Ctrl-C, after what is in work has been stored.
        """
        self.rows = {**requested, **leftover}
        self.requested = requested.keys()
        self.earlier = self.file.states(self.rows)
        self.counts = self.file.counts()
        self.total = sum(self.counts.values())
        # A failed row that is tried again counts as pending until it is done.
        self.counts[FAILED] -= sum(state.status == FAILED for state in self.earlier.values())
        self.n_to_do, self.n_done = len(self.rows), 0
        self.queue = deque(self.rows)
        self._report()
        with held_interrupts() as self.check_interrupt:
            while self._wait_for_work():
                with ExitStack() as stack:
                    executor = self.workers.executor or stack.enter_context(process_pool(self.workers.n_workers))
                    self._run_until_broken(executor)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to do here; False if all is done."""
        while not (self.suspects or self.ready):
            self.check_interrupt()
            if not self._claim_next():
                if not self.elsewhere:
                    return False
                time.sleep(_PAUSE)
                self._look_again()
        return True

    def _claim_next(self) -> bool:
        """Make a row ready that nobody has in work; False if there is none now."""
        while self.queue:
            row = self.queue.popleft()
            if self.claims.take(row):
                # Only now it is certain that nobody writes it: what was read before may have changed.
                state = self.file.states([row])[row]
                if state.status == PENDING or state == self.earlier[row]:
                    self.ready.append(row)
                    return True
                self.claims.release(row)
                self._count(state.status)
            elif row in self.requested:
                self.elsewhere.append(row)
            else:
                self.n_to_do -= 1
        return False

    def _look_again(self) -> None:
        """See whether others have finished their rows, or died, once there is nothing else to do."""
        if not self.queue:
            self.queue, self.elsewhere = self.elsewhere, deque()

    def _run_until_broken(self, executor: Executor) -> None:
        """Keep the executor busy until nothing is left to do here or a worker dies."""
        running: dict[Future[Outcome], int] = {}
        try:
            while self._submit(executor, running):
                for future in wait(running, timeout=_PAUSE, return_when=FIRST_COMPLETED).done:
                    self._collect(future, running[future])
                    del running[future]
                self._look_again()
                self.check_interrupt()
        except BrokenExecutor as error:
            self._sort_out(running)
            if self.workers.executor is not None:
                raise CalculationFailed(f"the given executor broke: {error}. {self._resumable()}") from error
        except CalculationFailed:
            self._abandon(running)
            raise
        except KeyboardInterrupt:
            self._abandon(running)
            raise

    def _submit(self, executor: Executor, running: dict[Future[Outcome], int]) -> bool:
        """Hand out work: suspects alone, when there is nothing else."""
        while self.alone is None and len(running) < self.workers.n_at_once:
            if self.ready or self._claim_next():
                source = self.ready
            elif self.suspects and not running:
                source = self.suspects
            else:
                break
            row = source[0]
            options = (self.workers.n_threads, self.workers.matrices)
            running[executor.submit(label_one, self.level, self.rows[row], *options)] = row
            source.popleft()  # only now: a dead pool refuses
            self.alone = row if source is self.suspects else None
        return bool(running)

    def _collect(self, future: Future[Outcome], row: int) -> None:
        """Take what a future brings."""
        try:
            outcome = future.result()
        except BrokenExecutor:
            raise
        except (Exception, CancelledError) as error:  # `label_one` turns what goes wrong in it into an outcome
            if not is_death(error):
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
                raise CalculationFailed(
                    f"the given executor lost a molecule ({reason}). {self._resumable()}"
                ) from error
            outcome = DEATH
        self._take(row, outcome)

    def _take(self, row: int, outcome: Outcome) -> None:
        """Store an outcome, unless it is a failure that is worth another try."""
        self.alone = None
        self.tries[row] += 1
        self.n_of_machine = self.n_of_machine + (outcome.kind == ENVIRONMENT) if outcome.record is None else 0
        if outcome.record is None and self.tries[row] < self._most_tries(outcome.kind):
            self.suspects.append(row)
        else:
            self._store(row, outcome)

    def _most_tries(self, kind: str) -> int:
        if (kind == CONVERGENCE and self.level.tries_again) or self.n_of_machine > _PATIENCE:
            return 1
        return _TRIES[kind]

    def _sort_out(self, running: dict[Future[Outcome], int]) -> None:
        """After a pool's death: store what was finished; a lone molecule was the cause, of several each may be."""
        unfinished = self._store_finished(running)
        if len(unfinished) == 1 and self.workers.executor is None:
            self._take(unfinished[0], DEATH)
        else:
            self.alone = None
            self.tries.update(unfinished)
            self.suspects.extend(unfinished)

    def _abandon(self, running: dict[Future[Outcome], int]) -> None:
        """Take back what has not been begun, and store the rest when it is finished."""
        for future in running:
            future.cancel()
        wait([future for future in running if not future.cancelled()])
        self._store_finished(running)

    def _store_finished(self, running: dict[Future[Outcome], int]) -> list[int]:
        """Take what was finished, and return the rows of the rest."""
        unfinished = []
        for future, row in running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self._take(row, future.result())
            else:
                unfinished.append(row)
        return unfinished

    def _store(self, row: int, outcome: Outcome) -> None:
        """Write one outcome to the file, let others see it, and report it."""
        record, reason = outcome.record, ""
        if record is not None:
            self._write(lambda: self.file.store(row, record))
        else:
            n_runs = n_runs_of_reason(self.earlier[row].reason) + 1 if outcome.kind == CONVERGENCE else 1
            reason = describe(outcome.kind, outcome.reason, n_runs)
            final = outcome.kind != ENVIRONMENT
            self._write(lambda: self.file.fail(row, self.rows[row], reason, final=final))
        self._write(lambda: self.claims.release(row))
        self._count(LABELLED if record is not None else FAILED, reason)

    def _write(self, write: Callable[[], None]) -> None:
        """Write to the dataset; where the machine fails (a full disk, a lost server) try again, then give up."""
        for pause in (*_PAUSES_OF_WRITING, None):
            try:
                write()
                return
            except Exception as error:
                if kind_of_error(error) != ENVIRONMENT:
                    raise
                if pause is None:
                    raise CalculationFailed(
                        f"{self.file.path} cannot be written to ({type(error).__name__}: {error}). {self._resumable()}"
                    ) from error
                time.sleep(pause)

    def _count(self, status: str, reason: str = "") -> None:
        self.counts[status] += 1
        self.n_done += 1
        self._report(reason)

    def _resumable(self) -> str:
        return f"{self.file.path} keeps all labels so far; run the same again to go on"

    def _report(self, last_failure: str = "") -> None:
        if self.progress is not None:
            labelled, failed = self.counts[LABELLED], self.counts[FAILED]
            self.progress(Progress(labelled, failed, self.total, self.n_to_do, self.n_done, last_failure))
