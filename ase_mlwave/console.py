"""Print text that others wrote: nothing in it is markup, and nothing reaches the terminal as a command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from ase_mlwave.text import clean

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Console", "late_bar", "progress_bar"]

#: Seconds after which work has earned a bar.
_PATIENCE = 3.0


class Console(rich.console.Console):
    """Rich's console, which takes brackets and colons for what they are and shows control characters as codes.

    Parameters
    ----------
    **options
        Those of Rich's; styles are given as objects or by ``style``, not as markup.

    Notes
    -----
    Law: whatever text is printed, in tables and bars too, only Rich's own styles and cursor movements reach the
    terminal (``test_what_is_printed_cannot_command_the_terminal``).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as Rich does, and clean the text of what comes out."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else clean(text), style, control)


def progress_bar(console: Console) -> Progress:
    """Make a progress bar with the time left, which leaves nothing behind and is silent where nobody watches."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def late_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on the error stream once the work has taken some seconds.

    Parameters
    ----------
    description : str
        Beside the bar.
    total : int
        Pieces of work.

    Yields
    ------
    callable
        To be called with the number of pieces done since the last call.
    """
    bar, begin = progress_bar(Console(stderr=True)), time.monotonic()
    task = bar.add_task(description, total=total)

    def advance(done: int) -> None:
        bar.advance(task, done)
        if time.monotonic() - begin > _PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
