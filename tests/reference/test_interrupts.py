from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from ase_mlwave.reference.interrupts import held_interrupts


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """Handle the signal as a terminal's program does: one in the background is started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_until_it_is_asked_for() -> None:
    done = []

    def work() -> None:
        with held_interrupts() as check:
            check()
            press()
            done.append("what was in work")
            check()
            done.append("more")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["what was in work"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_acts_at_once() -> None:
    done = []

    def work() -> None:
        with held_interrupts():
            press()
            done.append("what was in work")
            press()
            done.append("more")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["what was in work"]


def test_an_interrupt_is_not_lost_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), held_interrupts():
        press()


def test_other_threads_and_handlers_are_let_alone() -> None:
    seen: list[bool] = []

    def elsewhere() -> None:
        with held_interrupts() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(True))
    try:
        with held_interrupts() as check:
            press()
            check()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [True, True]
