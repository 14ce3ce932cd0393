"""A progress bar for what is no Lightning loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["training_bar"]


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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not shown) as bar:

        def start(total: int) -> Callable[[int], None]:
            task = bar.add_task(what, total=total)
            return lambda n: bar.advance(task, n)

        yield start
