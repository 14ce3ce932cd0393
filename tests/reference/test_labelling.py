from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.calculators.emt import EMT

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Record
from ase_mlwave.reference.labelling import Progress, label_geometries
from ase_mlwave.reference.levels import CalculatorLevel, LevelOfTheory
from ase_mlwave.reference.runs import LabellingRun
from tests.reference import levels_for_tests

ROOT = Path(__file__).parent.parent.parent


def waters(n: int) -> list[Record]:
    rng = np.random.default_rng(0)
    return [
        Record(
            numbers=np.array([8, 1, 1]),
            positions=np.array([[0.0, 0.0, 0.0], [0.0, 1.43, 1.11], [0.0, -1.43, 1.11]])
            + 0.1 * rng.normal(size=(3, 3)),
            info={"index": index},
        )
        for index in range(n)
    ]


def emt() -> CalculatorLevel:
    return CalculatorLevel("emt", lambda record: EMT())


def test_labels_are_those_of_the_level_in_the_order_given(tmp_path: Path) -> None:
    level = LevelOfTheory.parse("hf/sto-3g")
    geometries = waters(3)
    with ThreadPoolExecutor(1) as executor:
        file = label_geometries(geometries, tmp_path / "data.db", "hf/sto-3g", executor=executor)
    dataset = file.read()
    assert dataset.level == "hf/sto-3g"
    assert file.metadata["level_settings"] == level.settings()
    for geometry, record in zip(geometries, dataset, strict=True):
        expected = level.label(geometry)
        assert record.info == geometry.info
        assert record.energy == pytest.approx(expected.energy, abs=1e-12)
        np.testing.assert_allclose(record.matrices["hamiltonian"], expected.matrices["hamiltonian"], atol=1e-9)


def test_matrices_that_are_not_wanted_do_not_leave_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = LevelOfTheory.parse("hf/sto-3g")
    (geometry,) = waters(1)
    sent: list[Record | None] = []
    take = LabellingRun._take
    monkeypatch.setattr(LabellingRun, "_take", lambda *args: sent.append(args[2].record) or take(*args))
    with ThreadPoolExecutor(1) as executor:
        file = label_geometries([geometry], tmp_path / "data.db", level, executor=executor, matrices=False)
    (record,) = file.read()
    assert [one.matrices for one in sent if one is not None] == [{}]
    assert (record.matrices, record.labels.keys()) == ({}, {"energy", "forces", "dipole"})
    assert record.energy == pytest.approx(level.label(geometry).energy, abs=1e-12)


def test_failures_are_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    coinciding = Record(numbers=np.array([1, 1]), positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.01]]))
    hydrogen = Record(numbers=np.array([1, 1]), positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.4]]))
    good, states = waters(1), []
    level = CalculatorLevel("hydrogen alone", levels_for_tests.hydrogen_alone)
    with ThreadPoolExecutor(1) as executor:
        file = label_geometries(
            [coinciding, *good, hydrogen], tmp_path / "data.db", level, executor=executor, progress=states.append
        )
    assert file.counts() == {"labelled": 1, "failed": 2, "pending": 0}
    reasons = [failure.reason for failure in file.failures()]
    assert reasons[0].startswith("input: InputError: atoms 0 and 1 of H2 coincide")
    assert reasons[1] == "convergence: SCFError: not H2O"
    assert [failure.kind for failure in file.failures()] == ["input", "convergence"]
    assert [record.formula for record in file.read()] == ["H2"]
    assert [(state.n_done, state.failed, state.labelled) for state in states] == [
        (0, 0, 0),
        (1, 1, 0),
        (2, 1, 1),  # water has another try after the rest
        (3, 2, 1),
    ]
    assert states[1].last_failure == reasons[0]
    assert all(state.total == state.n_to_do == 3 for state in states)


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    done: list[Progress] = []
    geometries = waters(4)
    with ThreadPoolExecutor(1) as executor:
        for given in (geometries[:2], geometries, [*geometries, *geometries]):
            file = label_geometries(given, tmp_path / "data.db", emt(), executor=executor, progress=done.append)
    assert [state.n_to_do for state in done if state.n_done == 0] == [2, 2, 0]
    assert file.counts() == {"labelled": 4, "failed": 0, "pending": 0}


def test_atoms_are_labelled_too(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        file = label_geometries([molecule("H2O")], tmp_path / "data.db", emt(), executor=executor)
    np.testing.assert_allclose(
        file.read()[0].positions, record_from_atoms(molecule("H2O")).positions, rtol=0, atol=1e-15
    )


def test_another_level_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    label_geometries([], path, "hf/sto-3g")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    for level in ("pbe/sto-3g", "hf/sto-3g density_fit=false"):
        with pytest.raises(InputError, match=r"holds labels of the level 'hf/sto-3g'"):
            label_geometries(waters(1), path, level)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_dataset_of_an_earlier_version_goes_on_without_the_response_of_the_grid(tmp_path: Path) -> None:
    """Its metadata do not know the setting, because there was no choice."""
    path = tmp_path / "old.db"
    settings = LevelOfTheory.parse("pbe/sto-3g").settings()
    del settings["grid_response"]
    DatasetFile.create(path, "pbe/sto-3g", settings)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=r"Go on with the level 'pbe/sto-3g grid_response=false', or .*another file"):
        label_geometries(waters(1), path, "pbe/sto-3g")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    with ThreadPoolExecutor(1) as executor:
        file = label_geometries(waters(1), path, "pbe/sto-3g grid_response=false", executor=executor)
    dataset = DatasetFile(path).read()
    assert dataset.level == file.level == "pbe/sto-3g grid_response=false"
    forces = dataset[0].forces
    assert forces is not None
    assert np.abs(forces.sum(0)).max() > 1e-6


def test_wrong_requests_are_refused_before_a_file_is_made(tmp_path: Path) -> None:
    for keywords in ({"n_workers": 0}, {"n_threads": 0}):
        with pytest.raises(InputError, match="must be at least 1"):
            label_geometries(waters(1), tmp_path / "data.db", "hf/sto-3g", **keywords)
    with pytest.raises(InputError, match="knows no basis"):
        label_geometries(waters(1), tmp_path / "data.db", "hf/sto-33g")
    assert not (tmp_path / "data.db").exists()


def test_a_dying_worker_costs_only_its_molecule(tmp_path: Path) -> None:
    geometries = [*waters(1), record_from_atoms(molecule("CH4")), *waters(4)[1:]]
    level = CalculatorLevel("deadly", levels_for_tests.deadly)
    file = label_geometries(geometries, tmp_path / "data.db", level, n_workers=2)
    assert file.counts() == {"labelled": 4, "failed": 0, "pending": 1}  # nothing is final: memory may suffice next time
    (failure,) = file.failures()
    assert (failure.record.formula, failure.kind) == ("CH4", "environment")
    assert "worker process died" in failure.reason


def test_workers_keep_to_their_threads(tmp_path: Path) -> None:
    level = CalculatorLevel("threads", levels_for_tests.worker_threads)
    file = label_geometries(waters(1), tmp_path / "data.db", level, n_threads=1)
    assert "threads 1" in file.failures()[0].reason


SCRIPT = """
import multiprocessing, signal, sys
from pathlib import Path
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import CalculatorLevel
from tests.reference.levels_for_tests import slow
from tests.reference.test_labelling import waters

def note(state):
    Path("pids.new").write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
    Path("pids.new").replace("pids")  # whole at any moment, also that of the kill

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore Ctrl-C
    label_geometries(waters(12), "data.db", CalculatorLevel("slow", slow), n_workers=2, progress=note)
"""


def start_script(folder: Path) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "script.py"], cwd=folder, env=environment, text=True, stderr=subprocess.PIPE
    )


def wait_for_labels(path: Path, n: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if path.exists():
            try:
                if DatasetFile(path).counts()["labelled"] >= n:
                    return
            except ValueError:  # not yet complete
                pass
        time.sleep(0.02)
    raise AssertionError(f"no {n} labels within five minutes")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_killed_labelling_resumes_to_the_same_result(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    process = start_script(tmp_path)
    wait_for_labels(path, 3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert process.stderr is not None
    process.stderr.close()
    workers = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(workers) == 2

    before = DatasetFile(path)
    n_before = before.counts()["labelled"]
    assert 3 <= n_before < 12
    kept = [(record.info["index"], record.content_hash()) for record in before.read()]

    states: list[Progress] = []
    level = CalculatorLevel("slow", levels_for_tests.slow)
    with ThreadPoolExecutor(2) as executor:
        resumed = label_geometries(waters(12), path, level, executor=executor, n_workers=2, progress=states.append)
        straight = label_geometries(waters(12), tmp_path / "straight.db", level, executor=executor, n_workers=2)
    assert states[0].n_to_do == 12 - n_before  # nothing twice
    assert resumed.counts() == straight.counts() == {"labelled": 12, "failed": 0, "pending": 0}
    assert resumed.read().content_hash() == straight.read().content_hash()  # to the last bit
    assert [record.info for record in resumed.read()] == [record.info for record in straight.read()]
    assert set(kept) <= {(record.info["index"], record.content_hash()) for record in resumed.read()}

    deadline = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))  # the workers did not outlive their parent


def test_interrupt_stops_cleanly_and_keeps_what_was_in_work(tmp_path: Path) -> None:
    process = start_script(tmp_path)
    wait_for_labels(tmp_path / "data.db", 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert errors.splitlines().count("KeyboardInterrupt") == 1
    assert errors.count("Traceback") == 1  # from the parent alone
    counts = DatasetFile(tmp_path / "data.db").counts()
    assert counts["failed"] == 0
    assert 2 <= counts["labelled"] < 12
    assert not list(tmp_path.glob(".*"))  # the lock is gone
