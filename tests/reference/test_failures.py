"""Why labels fail, what is tried again, and what is stored."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    InputError,
    PropertyNotImplementedError,
    SCFError,
)
from ase.calculators.emt import EMT

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.failures import describe, kind_of_reason, n_runs_of_reason, without_kind
from ase_mlwave.data.record import Record
from ase_mlwave.errors import OutOfDomainError
from ase_mlwave.reference.failures import kind_of_error
from ase_mlwave.reference.labelling import Progress, label_geometries, label_rows, open_dataset
from ase_mlwave.reference.levels import CalculatorLevel
from ase_mlwave.reference.workers import Workers
from tests.reference.test_labelling import waters


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def caused_by(cause: BaseException) -> CalculationFailed:
    """Return the error that a level makes of what its program raised."""
    try:
        try:
            raise cause
        except type(cause) as error:
            raise CalculationFailed("the program failed") from error
    except CalculationFailed as error:
        return error


class OutOfMemoryError(RuntimeError):
    """As those of torch and CuPy are called."""


ERRORS: list[tuple[str, BaseException]] = [
    ("input", InputError("atoms coincide")),
    ("input", PropertyNotImplementedError("no forces")),
    ("input", OutOfDomainError("unlike anything")),
    ("convergence", SCFError("did not converge")),
    ("convergence", CalculationFailed("tblite stopped")),
    ("convergence", caused_by(np.linalg.LinAlgError("singular matrix"))),
    ("convergence", caused_by(ZeroDivisionError("oops"))),
    ("environment", MemoryError()),
    ("environment", caused_by(MemoryError("Unable to allocate 3 GiB"))),
    ("environment", caused_by(OSError(errno.ENOSPC, "No space left on device"))),
    ("environment", caused_by(ConnectionResetError("peer"))),
    ("environment", caused_by(ModuleNotFoundError("No module named 'dftd3'"))),
    ("environment", caused_by(OutOfMemoryError("CUDA out of memory"))),
    ("environment", caused_by(RuntimeError("std::bad_alloc"))),
    ("environment", caused_by(subprocess.CalledProcessError(-9, ["orca"]))),
    ("environment", caused_by(subprocess.CalledProcessError(127, "orca"))),
    ("environment", sqlite3.OperationalError("database or disk is full")),
    ("environment", TimeoutError()),
]


@pytest.mark.parametrize(("kind", "error"), ERRORS, ids=lambda value: repr(value)[:40])
def test_kinds_are_told_by_the_error_and_what_it_came_from(kind: str, error: BaseException) -> None:
    assert kind_of_error(error) == kind


def test_reasons_keep_kind_and_runs_and_are_read_from_earlier_versions() -> None:
    for n in (1, 3):
        reason = describe("convergence", "SCFError: no\n(twice)", n)
        assert (kind_of_reason(reason), n_runs_of_reason(reason)) == ("convergence", n)
        assert without_kind(reason) == "SCFError: no\n(twice)"
    assert n_runs_of_reason("SCFError: no") == 0
    assert kind_of_reason("InputError: atoms 0 and 1 of H2 coincide") == "input"
    assert kind_of_reason("the worker process died, for lack of memory or by a crash") == "environment"
    assert kind_of_reason("SCFError: the SCF of H2O did not converge") == "convergence"


class Moody:
    """Fail with an error a number of times for each molecule, then do as EMT does; count the calls."""

    def __init__(self, make: Callable[[], Exception], n_failures: int) -> None:
        self.make, self.n_failures, self.calls = make, n_failures, Counter[int]()

    def __call__(self, record: Record) -> Calculator:
        index = record.info["index"]
        self.calls[index] += 1
        if self.calls[index] <= self.n_failures:
            raise self.make()
        return EMT()


@pytest.mark.parametrize(
    ("make", "n_failures"), [(lambda: SCFError("no"), 1), (MemoryError, 2), (lambda: OSError(28, "full"), 2)]
)
def test_what_may_help_is_tried_again_within_the_run(
    make: Callable[[], Exception], n_failures: int, tmp_path: Path, thread: ThreadPoolExecutor
) -> None:
    moody = Moody(make, n_failures)
    states: list[Progress] = []
    level = CalculatorLevel("moody", moody)
    file = label_geometries(waters(2), tmp_path / "data.db", level, executor=thread, progress=states.append)
    assert file.counts() == {"labelled": 2, "failed": 0, "pending": 0}
    assert set(moody.calls.values()) == {n_failures + 1}
    assert [state.failed for state in states] == [0, 0, 0]
    assert file.failures() == []


def test_input_is_final_unless_asked_for(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    moody = Moody(lambda: InputError("no such element"), 1)
    level, path = CalculatorLevel("moody", moody), tmp_path / "data.db"
    for _ in range(2):
        file = label_geometries(waters(1), path, level, executor=thread)
        assert file.counts() == {"labelled": 0, "failed": 1, "pending": 0}
    assert moody.calls == {0: 1}
    assert label_geometries(waters(1), path, level, executor=thread, retry_failed=True).counts()["labelled"] == 1


def test_what_does_not_converge_is_tried_in_two_runs_then_on_request(
    tmp_path: Path, thread: ThreadPoolExecutor
) -> None:
    moody = Moody(lambda: SCFError("no"), 5)
    level, path = CalculatorLevel("moody", moody), tmp_path / "data.db"
    calls, reasons = [], []
    for _ in range(3):
        file = label_geometries(waters(1), path, level, executor=thread)
        calls.append(moody.calls[0])
        reasons.append(file.failures()[0].reason)
    assert calls == [2, 4, 4]
    assert reasons == ["convergence: SCFError: no", *["convergence (2 runs): SCFError: no"] * 2]
    assert label_geometries(waters(1), path, level, executor=thread, retry_failed=True).counts()["labelled"] == 1


def test_failures_of_earlier_versions_have_another_try(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    level = CalculatorLevel("moody", Moody(MemoryError, 0))
    file = open_dataset(tmp_path / "data.db", level)
    file.add(waters(2))
    for row, reason in zip(file.pending(), ("SCFError: no", "InputError: coincide"), strict=True):
        file.fail(row, waters(2)[row - 1], reason)
    failures = label_rows(file, level, [1, 2], workers=Workers(thread))
    assert [failure.reason for failure in failures] == ["InputError: coincide"]
    assert file.counts() == {"labelled": 1, "failed": 1, "pending": 0}


def test_what_the_machine_is_to_blame_for_is_never_final(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    moody = Moody(MemoryError, 4)
    level, path = CalculatorLevel("moody", moody), tmp_path / "data.db"
    states: list[Progress] = []
    file = label_geometries(waters(1), path, level, executor=thread, progress=states.append)
    assert moody.calls[0] == 3
    assert file.counts() == {"labelled": 0, "failed": 0, "pending": 1}
    assert [(failure.kind, failure.reason) for failure in file.failures()] == [
        ("environment", "environment: MemoryError: ")
    ]
    assert states[-1].failed == 1
    assert label_geometries(waters(1), path, level, executor=thread).counts()["labelled"] == 1
    assert file.failures() == []


def test_a_machine_that_fails_for_all_is_not_asked_three_times_each(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    moody = Moody(lambda: ModuleNotFoundError("No module named 'dftd4'"), 100)
    file = label_geometries(waters(30), tmp_path / "data.db", CalculatorLevel("moody", moody), executor=thread)
    assert file.counts() == {"labelled": 0, "failed": 0, "pending": 30}
    assert sum(moody.calls.values()) < 30 + 2 * 9


def test_what_one_process_lacks_memory_for_another_labels(tmp_path: Path) -> None:
    """Of two runs on one dataset one has no memory: nothing of it is stored as failed, and the other does the rest."""
    path = tmp_path / "data.db"
    poor, rich = CalculatorLevel("moody", Moody(MemoryError, 10**6)), CalculatorLevel("moody", Moody(MemoryError, 0))
    with ThreadPoolExecutor(2) as both, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        runs = [
            both.submit(label_geometries, waters(6), path, level, executor=executor)
            for level, executor in ((poor, one), (rich, other))
        ]
        for run in runs:
            run.result(60)
    assert label_geometries(waters(6), path, rich, executor=None, n_workers=1).counts()["failed"] == 0
    assert DatasetFile(path).counts() == {"labelled": 6, "failed": 0, "pending": 0}


def test_labels_that_are_not_finite_are_failures(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    class Infinite(EMT):
        def calculate(self, *arguments: object, **keywords: object) -> None:
            super().calculate(*arguments, **keywords)
            self.results["forces"] = np.full((3, 3), np.nan)

    level = CalculatorLevel("infinite", lambda record: Infinite())
    file = label_geometries(waters(1), tmp_path / "data.db", level, executor=thread)
    assert file.counts() == {"labelled": 0, "failed": 1, "pending": 0}
    assert "must be finite" in file.failures()[0].reason


def test_a_full_disk_poisons_nothing(
    tmp_path: Path, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written is tried again, then the run ends; the next goes on."""
    monkeypatch.setattr("ase_mlwave.reference.runs._PAUSES_OF_WRITING", (0.0, 0.0))
    store, tries = DatasetFile.store, Counter[int]()

    def full(self: DatasetFile, row: int, record: Record) -> None:
        tries[row] += 1
        if row == 2 or tries[row] == 1:  # the second for good, the others once
            raise sqlite3.OperationalError("database or disk is full")
        store(self, row, record)

    level, path = CalculatorLevel("moody", Moody(MemoryError, 0)), tmp_path / "data.db"
    with monkeypatch.context() as context:
        context.setattr(DatasetFile, "store", full)
        with pytest.raises(CalculationFailed, match=r"data.db cannot be written to .*disk is full.*same again"):
            label_geometries(waters(3), path, level, executor=thread)
    assert DatasetFile(path).counts() == {"labelled": 1, "failed": 0, "pending": 2}
    assert label_geometries(waters(3), path, level, executor=thread).counts()["labelled"] == 3
    assert not list(tmp_path.glob(".*"))
