"""Labelling on a Dask cluster: a scheduler here, workers in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import ase.io
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import CalculatorLevel
from ase_mlwave.reference.workers import dask_workers
from tests.reference import levels_for_tests
from tests.reference.scripts import noted
from tests.reference.test_labelling import waters

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@contextmanager
def cluster(n_workers: int = 2, *, processes: bool = True) -> Iterator[str]:
    """Start a cluster in the working directory, of processes or of threads, and give its address."""
    options = {"n_workers": n_workers, "threads_per_worker": 1, "processes": processes, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options, host="127.0.0.1", protocol="tcp") as local:
        yield local.scheduler_address


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kill_who_begins(folder: Path, index: int, killed: list[int]) -> None:
    """Kill the worker that begins a molecule."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for sign in folder.glob(f"begun-{index}-*"):
            killed.append(int(sign.name.rpartition("-")[2]))
            os.kill(killed[0], signal.SIGKILL)
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_worker_loses_no_label_and_repeats_none(here: Path) -> None:
    killed: list[int] = []
    with cluster() as address, dask_workers(address) as workers:
        assert workers.n_workers == 2
        killer = Thread(target=kill_who_begins, args=(here, 4, killed))
        killer.start()
        level = CalculatorLevel("announced", levels_for_tests.announced)
        file = label_geometries(waters(16), "data.db", level, executor=workers.executor, n_workers=workers.n_workers)
        killer.join()
    assert file.counts() == {"labelled": 16, "failed": 0, "pending": 0}
    times, processes = noted(here)
    assert times == Counter(str(index) for index in range(16))
    assert len(killed) == 1
    assert str(killed[0]) in processes  # it had done its part before
    begun = Counter(sign.name.split("-")[1] for sign in here.glob("begun-*"))
    assert begun.pop("4") == 2
    assert set(begun.values()) == {1}
    straight = label_geometries(waters(16), "straight.db", CalculatorLevel("slow", levels_for_tests.slow), n_workers=2)
    assert straight.read().records[4].content_hash() == file.read().records[4].content_hash()


@pytest.mark.slow
def test_a_molecule_that_kills_every_worker_is_a_failure(here: Path) -> None:
    molecules = [*waters(2), Atoms("CH4", [[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])]
    patience = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with patience, cluster() as address, dask_workers(address, 2) as workers:
        level = CalculatorLevel("deadly", levels_for_tests.deadly)
        file = label_geometries(molecules, "data.db", level, executor=workers.executor, n_workers=2)
    assert file.counts() == {"labelled": 2, "failed": 1, "pending": 0}
    assert "worker process died" in file.failures()[0].reason


def test_command_line_labels_on_a_cluster(here: Path) -> None:
    ase.io.write("hydrogens.extxyz", [Atoms("H2", [[0, 0, 0], [0, 0, bond]]) for bond in (0.7, 0.8, 0.9)])
    with cluster(1, processes=False) as address:  # processes take seconds to load PySCF
        arguments = ["label", "hydrogens.extxyz", "hydrogens.db", "--level", "hf/sto-3g", "--dask", address]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "3 labelled, 0 failed" in result.output


def test_a_lost_cluster_is_an_error_and_the_same_call_goes_on(here: Path) -> None:
    level = CalculatorLevel("slow", levels_for_tests.slow)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as local, distributed.Client(local, set_as_default=False) as client:
        executor = client.get_executor()

        def close(state: object) -> None:
            if getattr(state, "n_done", 0) == 1:
                client.cancel(list(executor._futures), force=True)

        with pytest.raises(CalculationFailed, match=r"lost a molecule .* run the same again"):
            label_geometries(waters(6), "data.db", level, executor=executor, n_workers=2, progress=close)
        assert DatasetFile("data.db").counts()["failed"] == 0
        file = label_geometries(waters(6), "data.db", level, executor=client.get_executor())
    assert file.counts() == {"labelled": 6, "failed": 0, "pending": 0}


def test_missing_clusters_and_libraries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_mlwave.reference.workers._PATIENCE", 0.5)
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 .*dask scheduler"):
        dask_workers("tcp://127.0.0.1:9").__enter__()
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at nowhere"):
        dask_workers("nowhere/scheduler.json").__enter__()
    with cluster(0) as address, pytest.raises(InputError, match="has no workers yet"):
        dask_workers(address).__enter__()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"ase-mlwave\[dask\]"):
        dask_workers("tcp://127.0.0.1:9").__enter__()
