"""``mlwave label``: energies, forces and Hamiltonians at a level of theory, into a dataset file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ase_mlwave.cli._options import takes_settings
from ase_mlwave.cli._reading import EnergyKey, ForcesKey, Units
from ase_mlwave.data.failures import CONVERGENCE, ENVIRONMENT, INPUT, without_kind
from ase_mlwave.reference.settings import LabellingSettings

if TYPE_CHECKING:
    from rich.console import Console

    from ase_mlwave.data.database import DatasetFile, Failure

#: Failures that are shown at the end; the file has all.
_N_SHOWN = 5
#: What to do, by the kind of failure.
_ADVICE = {
    INPUT: "mend these structures, or choose a level that serves them; the same command with the mended ones goes on",
    CONVERGENCE: "the same command tries once more, --retry-failed always; or look at the geometry, charge and spin",
    ENVIRONMENT: "the machine failed, nothing is final: the same command tries again (memory: fewer --workers)",
}


@takes_settings(
    LabellingSettings,
    names={"retry_failed": ("--retry-failed",)},
    shown={"workers": "1; all of Dask's"},
)
def label(
    settings: LabellingSettings,
    geometries: Annotated[str, typer.Argument(help="Molecules: .extxyz, .xyz, .npz, .db or postgresql://...")],
    output: Annotated[
        str,
        typer.Argument(
            help="Dataset (.db, or postgresql://user@host/database); if it exists, labelling goes on in it."
        ),
    ],
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    units: Units = None,
) -> None:
    """Label molecules at a level of theory.

    May be killed at any moment: the same command goes on where it stopped. The same command in several terminals, or on
    several machines, shares the work. `ase db OUTPUT` lists the result. Exits with 1 where molecules have no labels.
    """
    from ase_mlwave.cli._labelling import label_workers, resumable
    from ase_mlwave.cli._reading import read_data
    from ase_mlwave.console import Console
    from ase_mlwave.data.splits import assign_splits, parse_fractions
    from ase_mlwave.reference.bar import LabellingBar
    from ase_mlwave.reference.labelling import label_geometries

    fractions = None if settings.split is None else parse_fractions(settings.split)
    theory = settings.theory()
    console = Console(stderr=True)
    dataset = read_data(geometries, console, energy_key=energy_key, forces_key=forces_key, units=units)
    with (
        resumable(console, output),
        label_workers(settings.dask, settings.workers, settings.threads) as place,
        LabellingBar(console, theory.name) as bar,
    ):
        file = label_geometries(
            dataset,
            output,
            theory,
            executor=place.executor,
            n_workers=place.n_workers,
            n_threads=place.n_threads,
            matrices=settings.matrices,
            retry_failed=settings.retry_failed,
            progress=bar,
        )
    if fractions is not None and file.counts()["labelled"]:
        divided = assign_splits(file.read(), fractions, settings.seed, settings.split_by)
        file.assign("split", [record.info["split"] for record in divided])
    if not _summarise(console, file, file.numbers(dataset.records)):
        raise typer.Exit(1)


def _summarise(console: Console, file: DatasetFile, rows: Sequence[int]) -> bool:
    """Say what the file holds now, and what is missing; return whether all rows have labels."""
    from ase_mlwave.data.rows import LABELLED

    counts = file.counts()
    failures = file.failures()
    console.print(
        f"{file.path}: {counts['labelled']} labelled, {len(failures)} failed at {file.level}",
        soft_wrap=True,
        highlight=False,
    )
    n_doubtful = len(file.read_some("out_of_domain", ["doubtful"]))
    if n_doubtful:
        text = f"  {n_doubtful} labels are of molecules unlike the model's training data (out_of_domain=doubtful)"
        console.print(text, style="yellow", soft_wrap=True, highlight=False)
    for failure in failures[:_N_SHOWN]:
        line = f"  {failure.record.formula}: {without_kind(failure.reason)}"
        console.print(line, style="yellow", soft_wrap=True, markup=False)
    if failures:
        console.print(_by_kind(failures), soft_wrap=True, markup=False, highlight=False)
    if len(failures) > _N_SHOWN:
        command = f"ase db {file.path} 'mlwave_status!=labelled' -c id,formula,mlwave_reason"
        console.print(f"`{command}` lists all.", soft_wrap=True, markup=False)
    return all(state.status == LABELLED for state in file.states(rows).values())


def _by_kind(failures: Sequence[Failure]) -> str:
    """Count failures by kind, each with what to do, one kind a line."""
    counts = Counter(failure.kind for failure in failures)
    return "\n".join(f"  {kind:<12}{counts[kind]:>6}  {advice}" for kind, advice in _ADVICE.items() if counts[kind])
