"""``mlwave label``: energies, forces and Hamiltonians at a level of theory, into a dataset file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ase_mlwave.data.database import DatasetFile
    from ase_mlwave.reference.labelling import Progress

#: Failures that are shown at the end; the file has all.
_N_SHOWN = 5


def label(
    geometries: Annotated[Path, typer.Argument(help="Molecules: .extxyz, .xyz, .npz or .db.")],
    output: Annotated[Path, typer.Argument(help="Dataset file (.db); if it exists, labelling goes on in it.")],
    level: Annotated[
        str, typer.Option(help="functional/basis for PySCF, gfn2-xtb or gfn1-xtb; settings after it as key=value.")
    ] = "pbe/def2-svp",
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of one worker.")] = 1,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what has failed before.")] = False,
    split: Annotated[
        str | None, typer.Option(help="Divide the labelled molecules at the end: train=0.8,valid=0.1,test=0.1.")
    ] = None,
    split_by: Annotated[
        str | None, typer.Option(help="Keep together what shares this entry: smiles, formula, ...")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
) -> None:
    """Label molecules at a level of theory.

    May be killed at any moment: the same command goes on where it stopped. `ase db OUTPUT` lists the result.
    """
    from rich.console import Console

    from ase_mlwave.data.readers import read_dataset
    from ase_mlwave.data.splits import assign_splits, parse_fractions
    from ase_mlwave.reference.labelling import label_geometries
    from ase_mlwave.reference.levels import LevelOfTheory

    fractions = None if split is None else parse_fractions(split)
    chosen = LevelOfTheory.parse(level)
    dataset = read_dataset(geometries)
    console = Console(stderr=True)
    with _Bar(console, chosen.name) as bar:
        file = label_geometries(
            dataset, output, chosen, n_workers=workers, n_threads=threads, retry_failed=retry_failed, progress=bar
        )
    if fractions is not None:
        divided = assign_splits(file.read(), fractions, seed, split_by)
        file.assign("split", [record.info["split"] for record in divided])
    _summarise(console, file, output)


class _Bar:
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

    def __enter__(self) -> _Bar:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__(None, None, None)

    def __call__(self, state: Progress) -> None:
        """Show the state of a run."""
        self._progress.update(self._task, completed=state.n_done, total=state.n_to_do, failed=state.failed)
        if state.last_failure:
            self._console.print(f"failed: {state.last_failure}", style="yellow", soft_wrap=True, markup=False)


def _summarise(console: Console, file: DatasetFile, output: Path) -> None:
    """Say what the file holds now, and what has failed."""
    counts = file.counts()
    console.print(
        f"{output}: {counts['labelled']} labelled, {counts['failed']} failed at {file.level}",
        soft_wrap=True,
        highlight=False,
    )
    failures = file.failures()
    for failure in failures[:_N_SHOWN]:
        console.print(f"  {failure.record.formula}: {failure.reason}", style="yellow", soft_wrap=True, markup=False)
    if len(failures) > _N_SHOWN:
        console.print(f"  ... `ase db {output} status=failed -c id,formula,reason` lists all.", soft_wrap=True)
