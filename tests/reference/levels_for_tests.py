"""Levels of theory that misbehave, where worker processes can import them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ase.calculators.calculator import Calculator, SCFError
from ase.calculators.emt import EMT

from ase_mlwave.data.record import Record


def slow(record: Record) -> Calculator:
    """Return EMT after a moment."""
    time.sleep(0.2)
    return EMT()


def noted(record: Record) -> Calculator:
    """Return EMT after a moment, and note the molecule and the process in a file of the working directory."""
    time.sleep(0.2)
    with open("labels.txt", "a") as notes:
        notes.write(f"{record.info['index']} {os.getpid()}\n")
    return EMT()


def named(record: Record) -> Calculator:
    """Do as ``noted`` does, with the molecule's SMILES."""
    time.sleep(0.2)
    with open("labels.txt", "a") as notes:
        notes.write(f"{record.info['smiles']} {os.getpid()}\n")
    return EMT()


def announced(record: Record) -> Calculator:
    """Do as ``noted`` does, with a file for each molecule and process that says that it has begun."""
    Path(f"begun-{record.info['index']}-{os.getpid()}").touch()
    time.sleep(0.3)
    return noted(record)


def deadly(record: Record) -> Calculator:
    """Kill the process for methane, as a crash or the kernel's memory killer does."""
    if len(record) == 5:
        time.sleep(0.2)  # let others be in work too
        os._exit(9)
    return EMT()


def worker_threads(record: Record) -> Calculator:
    """Fail with the largest number of threads that a pool of this process may use."""
    from threadpoolctl import threadpool_info

    raise RuntimeError(f"threads {max(pool['num_threads'] for pool in threadpool_info())}")


def hydrogen_alone(record: Record) -> Calculator:
    """Return EMT for hydrogen, and do not converge for anything else."""
    if record.formula != "H2":
        raise SCFError(f"not {record.formula}")
    return EMT()
