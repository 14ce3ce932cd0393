"""Interrupts that wait until what is being done is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "TrainingInterrupted", "stop_request"]

#: Ctrl-C, and what a queue sends before it kills.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(KeyboardInterrupt):
    """Raised after an interrupt, when the checkpoint is written; its text says how far training came."""


class StopRequest:
    """Remember that somebody wants to stop."""

    def __init__(self) -> None:
        self.is_set = False

    def __bool__(self) -> bool:
        """Tell whether a signal came."""
        return self.is_set

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; stop at once at the second."""
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request that is looked at between steps.

    Yields
    ------
    StopRequest
        True once a signal came. A second one raises ``KeyboardInterrupt`` at once.

    Notes
    -----
    Only the main thread receives signals; elsewhere no request is ever made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
