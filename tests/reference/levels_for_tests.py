"""Levels of theory that misbehave, where worker processes can import them."""

from __future__ import annotations

import os
import time

from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from ase_mlwave.data.record import Record


def slow(record: Record) -> Calculator:
    """Return EMT after a moment."""
    time.sleep(0.2)
    return EMT()


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
