"""What the verbs that label have in common: where labels are computed, and a word after Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from ase_mlwave.reference.workers import Workers

__all__ = ["label_workers", "resumable"]


def label_workers(dask: str | None, workers: int | None, threads: int = 1) -> AbstractContextManager[Workers]:
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
