"""Ctrl-C at points of our choice: raised anywhere, it can leave a lock of the standard library held for ever."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["held_interrupts"]


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold a first Ctrl-C back until it is asked for; a second one acts at once.

    Yields
    ------
    callable
        Raises ``KeyboardInterrupt`` if Ctrl-C was pressed.

    Notes
    -----
    An interrupt that Python raises while the main thread acquires the lock of a future leaves it locked: the thread
    that would set the result waits for it, and who waits for the result waits for ever. Elsewhere than in the main
    thread, or where somebody handles the signal already, nothing is changed and the callable does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: None
        return
    presses: list[int] = []  # no event: a handler that waits for a lock of its own thread would wait for ever

    def note(number: int, frame: FrameType | None) -> None:
        if presses:
            signal.default_int_handler(number, frame)
        presses.append(number)

    def check() -> None:
        if presses:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, before)
