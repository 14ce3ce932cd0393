"""Several processes that label into one dataset."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ase.calculators.calculator import InputError
from ase.calculators.emt import EMT

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Record
from ase_mlwave.reference.labelling import Progress, label_geometries, label_rows
from ase_mlwave.reference.levels import CalculatorLevel
from ase_mlwave.reference.workers import Workers
from tests.reference import levels_for_tests
from tests.reference.scripts import finish, noted, script, wait_for_labels
from tests.reference.test_labelling import waters

#: Arguments: first and last molecule, number of workers.
SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import CalculatorLevel
from tests.reference.levels_for_tests import noted
from tests.reference.test_labelling import waters

if __name__ == "__main__":
    first, last, n_workers = map(int, sys.argv[1:])
    geometries, level = waters(last)[first:], CalculatorLevel("noted", noted)
    with ThreadPoolExecutor(n_workers) as executor:  # further processes take seconds to load PySCF
        file = label_geometries(geometries, "data.db", level, executor=executor, n_workers=n_workers)
    rows = file.numbers(waters(last)[first:])
    assert {state.status for state in file.states(rows).values()} == {"labelled"}
"""


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    with script(tmp_path, SCRIPT, "0", "16", "1") as one, script(tmp_path, SCRIPT, "8", "24", "1") as other:
        finish(one)
        finish(other)
    times, processes = noted(tmp_path)
    assert times == Counter(str(index) for index in range(24))  # nothing lost, nothing twice
    assert len(processes) == 2
    assert DatasetFile(tmp_path / "data.db").counts() == {"labelled": 24, "failed": 0, "pending": 0}
    assert not list(tmp_path.glob(".*"))
    with ThreadPoolExecutor(1) as executor:
        level = CalculatorLevel("slow", levels_for_tests.slow)
        alone = label_geometries(waters(24), tmp_path / "alone.db", level, executor=executor, n_workers=4)
    assert {r.info["index"]: r.content_hash() for r in alone.read()} == {
        r.info["index"]: r.content_hash() for r in DatasetFile(tmp_path / "data.db").read()
    }


def test_work_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with script(tmp_path, SCRIPT, "0", "24", "2") as one, script(tmp_path, SCRIPT, "0", "24", "1") as other:
        wait_for_labels(tmp_path / "data.db", 6)
        one.send_signal(signal.SIGKILL)
        one.wait()
        finish(other)
    times, _ = noted(tmp_path)
    assert times.keys() == {str(index) for index in range(24)}
    # Only what the killed process had finished but not yet stored is computed again: at most what it had in work.
    assert sum(times.values()) <= 24 + 3
    assert DatasetFile(tmp_path / "data.db").counts() == {"labelled": 24, "failed": 0, "pending": 0}
    assert not list(tmp_path.glob(".*"))


def test_a_run_waits_for_what_others_have_in_work(tmp_path: Path) -> None:
    """One run claims the first molecule and hesitates; another labels the second, waits, and sees the first's label."""
    path, begun, go_on = tmp_path / "data.db", threading.Event(), threading.Event()
    labelled: list[int] = []

    def hesitant(record: Record) -> EMT:
        labelled.append(record.info["index"])
        if record.info["index"] == 0:
            begun.set()
            assert go_on.wait(60)
        return EMT()

    level = CalculatorLevel("hesitant", hesitant)
    states: list[Progress] = []

    def watch(state: Progress) -> None:
        states.append(state)
        if state.n_done == 1:  # the second molecule is done: only what the other run has is left
            assert state.n_to_do == 2
            go_on.set()

    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as other:
        first = pool.submit(label_geometries, waters(1), path, level, executor=executor)
        assert begun.wait(60)
        file = label_geometries(waters(2), path, level, executor=other, progress=watch)
        assert file.counts() == {"labelled": 2, "failed": 0, "pending": 0}
        first.result(60)
    assert sorted(labelled) == [0, 1]
    assert (states[-1].n_done, states[-1].labelled, states[-1].failed) == (2, 2, 0)


def test_work_of_others_is_not_waited_for_unless_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    level = CalculatorLevel("slow", levels_for_tests.slow)
    file = DatasetFile.create(path, level.name, level.settings())
    file.add(waters(3))
    rows = list(file.pending())
    with file.claims() as claims, ThreadPoolExecutor(1) as executor:
        assert claims.take(rows[0])
        counts = label_geometries(waters(2)[1:], path, level, executor=executor).counts()
        assert counts == {"labelled": 2, "failed": 0, "pending": 1}  # nobody was at the third


def test_a_failure_is_retried_by_one_process_only(tmp_path: Path) -> None:
    path, tries = tmp_path / "data.db", Counter[int]()

    def hopeless(record: Record) -> EMT:
        tries[record.info["index"]] += 1
        raise InputError("never")

    def interfering(record: Record) -> EMT:
        if record.info["index"] == 0:  # while this one is in work, another run tries the last one again
            file = DatasetFile(path)
            with ThreadPoolExecutor(1) as own:
                last, moody = file.numbers(waters(3))[2:], CalculatorLevel("moody", hopeless)
                label_rows(file, moody, last, workers=Workers(own), retry_failed=True)
        return hopeless(record)

    with ThreadPoolExecutor(1) as executor:
        label_geometries(waters(3), path, CalculatorLevel("moody", hopeless), executor=executor)
        assert tries == {0: 1, 1: 1, 2: 1}
        level = CalculatorLevel("moody", interfering)
        file = label_geometries(waters(3), path, level, executor=executor, n_workers=1, retry_failed=True)
    assert file.counts() == {"labelled": 0, "failed": 3, "pending": 0}
    assert tries == {0: 2, 1: 2, 2: 2}  # the last one by the run in between, and then no more
