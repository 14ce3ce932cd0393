"""What the verbs that label have in common: where labels are computed, a progress bar, and a word after Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from ase_mlwave.reference.labelling import Progress
    from ase_mlwave.reference.workers import Workers


def chosen_workers(dask: str | None, workers: int | None, threads: int = 1) -> AbstractContextManager[Workers]:
    """Return where labels are computed: own processes, or a Dask cluster for the time of a ``with`` block."""
    from ase_mlwave.reference.workers import Workers, dask_workers

    if dask is None:
        return nullcontext(Workers(n_workers=1 if workers is None else workers, n_threads=threads))
    Workers(n_workers=1 if workers is None else workers, n_threads=threads)  # refused before a scheduler is asked
    return dask_workers(dask, workers, threads)


@contextmanager
def resumable(console: Console, database: str) -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost."""
    from ase_mlwave.data.database import DatasetFile

    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError, ValueError):  # there is none yet
            file = DatasetFile(database)
            counts = file.counts()
            console.print(
                f"{file.path} keeps {counts['labelled']} labelled molecules, {counts['pending']} are left; the same "
                "command goes on from there",
                soft_wrap=True,
                highlight=False,
            )
        raise


class Bar:
    """Show progress with the time left where a person watches, and a line per failure always."""

    def __init__(self, console: Console, name: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeRemainingColumn(),
        )
        self._console = console
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(f"labelling at {name}", total=None, failed=0)

    def __enter__(self) -> Bar:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__(None, None, None)

    def __call__(self, state: Progress) -> None:
        """Show the state of a run."""
        self._progress.update(self._task, completed=state.n_done, total=state.n_to_do, failed=state.failed)
        if state.last_failure:
            self._console.print(f"failed: {state.last_failure}", style="yellow", soft_wrap=True, markup=False)
