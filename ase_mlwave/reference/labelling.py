"""Label geometries into a dataset, in parallel, such that it may be killed at any moment and resumed.

Any number of processes may label into one dataset at a time. What a process has in work it claims by locks that end
with it (`ase_mlwave.data.claims`); what others have claimed it waits for, and takes over if they die.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import DatasetFile, Failure
from ase_mlwave.data.failures import INPUT, kind_of_reason, n_runs_of_reason
from ase_mlwave.data.metadata import differ_in_forces_only
from ase_mlwave.data.record import Record
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.runs import LabellingRun, Progress
from ase_mlwave.reference.workers import Workers

__all__ = ["Progress", "label_geometries", "label_rows", "open_dataset"]

#: Runs in which a molecule that does not converge is tried.
_MOST_RUNS = 2


def label_geometries(
    geometries: Iterable[Record | Atoms],
    path: str | Path,
    level: LevelOfTheory | str,
    *,
    executor: Executor | None = None,
    n_workers: int = 1,
    n_threads: int = 1,
    matrices: bool = True,
    retry_failed: bool = False,
    leftovers: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> DatasetFile:
    """Label geometries into a dataset; what it has already is not done again.

    Parameters
    ----------
    geometries : iterable of Record or Atoms
        Molecules; their own labels are ignored. Equal ones are labelled once.
    path : str or Path
        A ``.db`` file or the address of a PostgreSQL database; new, or one that an earlier run has left or others use.
    level : LevelOfTheory or str
        Level of theory, such as ``"pbe/def2-svp"``; must be that of the dataset. On a GPU:
        ``LevelOfTheory.parse("pbe/def2-svp").on("cuda")``.
    executor : concurrent.futures.Executor, optional
        Where to run (threads, a Dask client's executor, ...). By default a pool of ``n_workers`` fresh processes; a
        script that calls this needs ``if __name__ == "__main__":``, as for every process pool.
    n_workers : int
        Number of processes; with an ``executor`` the number of molecules in work at a time.
    n_threads : int
        Threads of one worker.
    matrices : bool
        Whether Hamiltonians are kept with the other labels; only a PhiSNet learns from them.
    retry_failed : bool
        Whether all molecules that failed in an earlier run are tried again. By default those are that did not converge
        in at most two runs; what the machine is to blame for (memory, disk, connection, a library) always is.
    leftovers : bool
        Whether to label after those given what else the dataset has pending and nobody is at.
    progress : callable, optional
        Called after every molecule.

    Returns
    -------
    DatasetFile
        Its ``counts`` and ``failures`` say what came of it.

    Raises
    ------
    InputError
        If the level is unknown or not that of the dataset, this machine lacks what it needs (of an executor's machines
        each molecule's failure says so), or a number is not positive.
    CalculationFailed
        If a given executor cannot run what it is given, or loses it.
    KeyboardInterrupt
        On Ctrl-C, after the molecules in work have been finished and stored.

    Notes
    -----
    All molecules are written to the dataset as ``pending`` before the first is labelled, so the order of the rows does
    not depend on who finishes first, and a run that was killed and resumed leaves the same file as one that was not
    (``test_killed_labelling_resumes_to_the_same_result``).
    The geometries have labels, or have failed, when this returns, whoever labels them: of two processes that share some
    neither labels what the other has (``test_two_processes_share_the_work``).
    Failures are of three kinds (`ase_mlwave.data.failures`). Input is final. What did not converge, and what the
    machine is to blame for (lack of memory or disk, a lost connection, a missing library, a worker that dies), is tried
    again after the rest, alone, a few times; then the first is stored as failed, and the second stays pending with its
    reason, so that the next run, or another process, tries again.
    """
    theory = LevelOfTheory.parse(level) if isinstance(level, str) else level
    workers = Workers(executor, n_workers, n_threads, matrices)
    if executor is None:
        theory.load()  # what this machine lacks is refused now, once, and not for each molecule
    records = [_unlabelled(geometry) for geometry in geometries]
    file = open_dataset(path, theory)
    file.add(records)
    rows = file.numbers(records)
    label_rows(file, theory, rows, workers=workers, retry_failed=retry_failed, leftovers=leftovers, progress=progress)
    return file


def label_rows(
    file: DatasetFile,
    level: LevelOfTheory,
    rows: Sequence[int],
    *,
    workers: Workers,
    retry_failed: bool = False,
    leftovers: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[Failure]:
    """Label rows of a dataset, or wait until others have, and say what is missing.

    Parameters
    ----------
    file : DatasetFile
        From ``open_dataset``.
    level : LevelOfTheory
        That of the dataset.
    rows : sequence of int
        Numbers of rows; those with labels cost nothing.
    workers : Workers
        Where to run.
    retry_failed : bool
        See ``label_geometries``.
    leftovers : bool
        Whether to label then what else is pending and nobody is at.
    progress : callable, optional
        Called after every molecule.

    Returns
    -------
    list of Failure
        Those of the given rows that have no labels now, with the kind of each failure.

    Raises
    ------
    CalculationFailed, KeyboardInterrupt
        See ``label_geometries``.
    """
    open_rows = file.pending(retry_failed or _is_worth_a_try, rows)
    requested = {row: open_rows[row] for row in dict.fromkeys(rows) if row in open_rows}
    leftover = {row: record for row, record in file.pending().items() if row not in requested} if leftovers else {}
    with file.claims() as claims:
        LabellingRun(file, level, claims, workers, progress).work(requested, leftover)
    return file.failures(rows)


def _is_worth_a_try(reason: str) -> bool:
    """Tell whether a failure of earlier runs may be none today."""
    return kind_of_reason(reason) != INPUT and n_runs_of_reason(reason) < _MOST_RUNS


def open_dataset(path: str | Path, level: LevelOfTheory) -> DatasetFile:
    """Open a dataset for labelling, or make it.

    Parameters
    ----------
    path : str or Path
        See ``label_geometries``.
    level : LevelOfTheory
        Must be that of the dataset, if it exists.

    Returns
    -------
    DatasetFile

    Raises
    ------
    InputError
        If the dataset has another level of theory.
    """
    file = DatasetFile.open_or_create(path, level.name, level.settings())
    stored = file.metadata.get("level_settings") or level.settings()  # a file converted from elsewhere has none
    if differ_in_forces_only(file.level, level.name):
        raise InputError(
            f"the forces in {file.path} are those of {file.level!r}, with another treatment of the integration grid "
            f"than {level.name!r}. Go on with the level {file.level!r}, or choose another file."
        )
    if file.level != level.name or stored != level.settings():
        found, wanted = ("", "") if file.level != level.name else (f" ({stored})", f" ({level.settings()})")
        raise InputError(
            f"{file.path} holds labels of the level {file.level!r}{found}, not {level.name!r}{wanted}. Choose another "
            "file or the same level."
        )
    return file


def _unlabelled(geometry: Record | Atoms) -> Record:
    return (geometry if isinstance(geometry, Record) else record_from_atoms(geometry)).unlabelled()
