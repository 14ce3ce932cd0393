"""A progress bar for labelling, in the command line and in scripts."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from ase_mlwave.console import Console
from ase_mlwave.reference.runs import Progress

__all__ = ["LabellingBar"]


class LabellingBar:
    """Show progress with the time left where a person watches, and a line per failure always.

    Parameters
    ----------
    console : Console
        Where to show it.
    name : str
        Level of theory.
    """

    def __init__(self, console: Console, name: str) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeRemainingColumn(),
        )
        self._console, self._name = console, name
        self._progress = RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(f"labelling at {name}", total=None, failed=0)

    def __enter__(self) -> LabellingBar:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def __call__(self, state: Progress) -> None:
        """Show the state of a run."""
        description = f"{state.stage} at {self._name}"
        self._progress.update(
            self._task, description=description, completed=state.n_done, total=state.n_to_do, failed=state.failed
        )
        if state.last_failure:
            self._console.print(f"failed: {state.last_failure}", style="yellow", soft_wrap=True, markup=False)
