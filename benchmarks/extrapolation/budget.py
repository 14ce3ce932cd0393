"""Give every model the same time: CPU-seconds of one thread, turned into optimiser steps by a trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["cpu_seconds", "steps_within"]

Result = TypeVar("Result")

#: Steps of the first trial beyond the shortest run, and of the second at most.
_FIRST, _SECOND = 10, 200
#: Share of the budget that the second trial takes.
_SHARE = 0.03


def cpu_seconds(function: Callable[[], Result]) -> tuple[Result, float]:
    """Call a function; return what it returns, and the CPU-seconds of this process that it took."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def steps_within(budget: float, run: Callable[[int], object]) -> int:
    """Find how many steps a budget allows, from trials whose cost does not count.

    Parameters
    ----------
    budget : float
        CPU-seconds.
    run : callable
        Train for a number of steps, from the start.

    Returns
    -------
    int
        At least 1.

    Notes
    -----
    Trials of different length tell the cost of a step from what every run pays once
    (``test_steps_fill_the_budget``).
    """
    run(1)  # what is loaded and compiled at the first call
    _, shortest = cpu_seconds(lambda: run(1))
    _, longer = cpu_seconds(lambda: run(1 + _FIRST))
    per_step = max((longer - shortest) / _FIRST, 1e-5)
    more = min(int(_SHARE * budget / per_step), _SECOND)
    if more > _FIRST:
        _, longest = cpu_seconds(lambda: run(1 + more))
        per_step = max((longest - shortest) / more, 1e-5)
    return max(1, int((budget - max(0.0, shortest - per_step)) / per_step))
