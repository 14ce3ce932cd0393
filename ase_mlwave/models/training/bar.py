"""How far training is: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from ase_mlwave.console import Console

__all__ = ["TrainingBar", "duration", "training_bar"]

#: Seconds between two lines where there is no terminal.
_LINE = 60.0


def duration(seconds: float) -> str:
    """Write a time in words: ``"40 s"``, ``"12 min"``, ``"3 h 20 min"``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


#: The column that takes what room there is.
_LAST = Column(no_wrap=True, overflow="ellipsis", ratio=1)


class TrainingBar:
    """Show how much is done, the time that is left of all of it, and the last errors.

    Parameters
    ----------
    what : str
        What is being done.
    total, done : int
        Items in all, and those that an earlier run did.
    shown : bool
        Show anything at all.

    Notes
    -----
    The time that is left counts everything between two steps, validations too. Where the output is no terminal, there
    is a line a minute, and one for every `note`.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, shown: bool = True) -> None:
        self.what, self.total, self.done = what, total, done
        self._first, self._begun, self._last_line = done, time.monotonic(), time.monotonic()
        self._note = ""
        console = Console()
        self._lines = shown and not console.is_terminal
        columns = (
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=15),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[state]}", markup=False, table_column=_LAST),
        )
        self._bar = Progress(*columns, console=console, disable=not shown or self._lines, expand=True)
        self._task = self._bar.add_task(what, total=total, completed=done, state="")

    def __enter__(self) -> TrainingBar:
        """Begin to show it."""
        self._begun = self._last_line = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and leave the last state on the screen."""
        self._bar.stop()

    def advance(self, n: int = 1) -> None:
        """Count items."""
        self.done += n
        self._show()

    def note(self, text: str) -> None:
        """Set what stands behind the bar: the last errors."""
        self._note = text
        self._show(line=True)

    def _show(self, *, line: bool = False) -> None:
        self._bar.update(self._task, completed=self.done, state=self._state())
        now = time.monotonic()
        if self._lines and (line or now - self._last_line >= _LINE):
            self._last_line = now
            print(f"{self.what}: {self.done} of {self.total}, {self._state()}", flush=True)

    def _state(self) -> str:
        finished = self.done - self._first
        elapsed = time.monotonic() - self._begun
        parts = []
        if self.done >= self.total:
            parts.append(f"took {duration(elapsed)}")
        elif finished:
            parts.append(f"{duration(elapsed / finished * (self.total - self.done))} left")
        return ", ".join([*parts, *([self._note] if self._note else [])])


@contextmanager
def training_bar(what: str, *, shown: bool) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """Show a bar while the context lasts.

    Parameters
    ----------
    what : str
        Text beside the bar.
    shown : bool
        Show it at all.

    Yields
    ------
    callable
        Called with the total, it returns what is called with the number of items done since the last call.
    """
    bars: list[TrainingBar] = []

    def start(total: int) -> Callable[[int], None]:
        bars.append(TrainingBar(what, total, shown=shown).__enter__())
        return bars[-1].advance

    try:
        yield start
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)
