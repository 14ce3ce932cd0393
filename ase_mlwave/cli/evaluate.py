"""``mlwave evaluate``: measure a model on labelled molecules."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_mlwave.cli._options import takes_settings
from ase_mlwave.cli._reading import EnergyKey, ForcesKey, Units
from ase_mlwave.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    from rich.table import Table

    from ase_mlwave.calculators.base import MlwaveCalculator
    from ase_mlwave.console import Console
    from ase_mlwave.data.record import Dataset
    from ase_mlwave.evaluation.energies import Evaluation
    from ase_mlwave.evaluation.figures import SizeBin

__all__ = ["CALIBRATION", "evaluate", "measure_of"]

#: Name of the picture that a committee's evaluation leaves in the folder of its first model.
CALIBRATION = "calibration.png"


@takes_settings(EvaluationSettings, shown={"split": "all", "level": "wavefunction, functional", "cycles": "counted"})
def evaluate(
    settings: EvaluationSettings,
    model: Annotated[
        str,
        typer.Argument(help="A name in the zoo or a folder; several joined by commas: a committee, card of the first."),
    ],
    data: Annotated[Path, typer.Argument(help="Labelled data: ASE database, npz or extxyz.")],
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write the figures into the model's card; of a committee a plot too.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the figures as JSON too.")] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    units: Units = None,
) -> None:
    """Print the errors of a model against the labels of held-out molecules.

    A committee (models of one kind, trained with different seeds) also shows how far its spread predicts its error.
    """
    from ase_mlwave.calculators import load_calculator
    from ase_mlwave.cli._reading import read_data
    from ase_mlwave.console import Console

    names = [name.strip() for name in model.split(",")]
    calculator = load_calculator(names if len(names) > 1 else names[0])
    measure = measure_of(calculator, names[0], settings)
    notes = Console(stderr=True)
    reading = {"energy_key": energy_key, "forces_key": forces_key, "units": units}
    dataset = read_data(data, notes, **reading)
    dataset = dataset.split(settings.split) if settings.split else dataset
    records = replace(dataset, records=dataset.records[: settings.limit or None])
    result = _with_progress(measure, calculator, records, notes)
    console = Console()
    of = f"{len(records)} molecules of {data.name}" + (f", split {settings.split}" if settings.split else "")
    console.print(_table(f"{model} on {of}", result.figures))
    if result.by_size:
        console.print(_size_table(result.by_size))
    for remark in result.remarks:
        notes.print(f"note: {remark}", soft_wrap=True, highlight=False, markup=False)
    if write_card:
        command = _command(names, data, settings, reading)
        _write_card(names, result, f"On {len(records)} molecules, by `{command}`:")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        content = {"model": names[0], "n": len(records), **_content(names, result)}
        output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure_of(calculator: MlwaveCalculator, name: str, settings: EvaluationSettings) -> Callable[..., Evaluation]:
    """Return what measures this kind of model, with the options given; refuse those that do not concern it."""
    from ase.calculators.calculator import InputError

    from ase_mlwave.models.kinds import find_kind

    measure: Callable[..., Evaluation] = find_kind(calculator.name, name).load("evaluation")
    known = inspect.signature(measure).parameters
    given: dict[str, Any] = {"levels": settings.level} if settings.level else {}
    if settings.cycles is not None:
        given["cycles"] = settings.cycles
    words = {"levels": "--level", "cycles": "--cycles" if settings.cycles else "--no-cycles"}
    surplus = [words[option] for option in given if option not in known]
    if surplus:
        raise InputError(
            f"{' and '.join(surplus)}: this is for PhiSNet models only, and {name} is of kind {calculator.name!r}. "
            "Leave it out."
        )
    return partial(measure, **given)


def _with_progress(
    measure: Callable[..., Evaluation], calculator: MlwaveCalculator, data: Dataset, notes: Console
) -> Evaluation:
    """Measure with a progress bar."""
    from ase_mlwave.console import progress_bar

    with progress_bar(notes) as bar:

        def counter(what: str, total: int) -> Callable[[int], None]:
            task = bar.add_task(what, total=total)
            return lambda done: bar.advance(task, done)

        return measure(calculator, data, progress=counter)


def _table(title: str, figures: dict[str, float]) -> Table:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    return table


def _size_rows(by_size: Sequence[SizeBin]) -> list[list[str]]:
    """Write the table of errors by size, its header first."""
    names = [name for name in by_size[0].figures if all(name in one.figures for one in by_size)]
    header = ["heavy atoms", "molecules", *names]
    return [header] + [
        [one.heavy_atoms, str(one.n_molecules), *(f"{one.figures[name]:.4g}" for name in names)] for one in by_size
    ]


def _size_table(by_size: Sequence[SizeBin]) -> Table:
    from rich.table import Table

    header, *rows = _size_rows(by_size)
    table = Table(title="errors by size")
    for column in header:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _content(names: list[str], result: Evaluation) -> dict[str, Any]:
    """Give what the JSON file holds of an evaluation."""
    from dataclasses import asdict

    content: dict[str, Any] = dict(result.figures)
    if len(names) > 1:
        content["committee"] = names
        content["calibration"] = [
            {"quantity": one.title, "unit": one.unit, "bins": [asdict(b) for b in one.bins()]}
            for one in result.calibrations
        ]
    if result.by_size:
        content["by_heavy_atoms"] = [
            {"heavy_atoms": one.heavy_atoms, "n": one.n_molecules, **one.figures} for one in result.by_size
        ]
    return content | {"remarks": list(result.remarks)}


def _command(names: list[str], data: Path, settings: EvaluationSettings, reading: dict[str, str | None]) -> str:
    """Write the command that gives the same figures where the data file is in the working directory."""
    import shlex

    from ase_mlwave.models.folder import list_models, locate

    shipped = {locate(name): name for name in list_models()}
    words = ["mlwave", "evaluate", ",".join(shipped.get(locate(name), name) for name in names), data.name]
    words += [] if settings.split is None else ["--split", settings.split]
    words += [word for one in settings.level or () for word in ("--level", one)]
    words += [] if settings.cycles is None else ["--cycles" if settings.cycles else "--no-cycles"]
    words += ["--limit", str(settings.limit)] if settings.limit else []
    words += [f"--{key.replace('_', '-')}={value}" for key, value in reading.items() if value is not None]
    return shlex.join(words)


def _write_card(names: list[str], result: Evaluation, remark: str) -> None:
    """Write figures, remarks, the table by size and the calibration plot into the folder of the first model."""
    from ase_mlwave.models.card import record_errors
    from ase_mlwave.models.folder import locate
    from ase_mlwave.plotting.calibration import draw_calibration

    parts = ["\n".join(f"- {remark.rstrip('.')}." for remark in result.remarks)] if result.remarks else []
    if result.by_size:
        header, *rows = _size_rows(result.by_size)
        lines = [header, ["---:"] * len(header), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"By size, mean absolute errors:\n\n{table}")
    if result.calibrations:
        draw_calibration(result.calibrations, locate(names[0]) / CALIBRATION)
        parts.append(
            f"Figures named `committee_...` are those of the mean of {len(names)} models. Multiplied by "
            "`..._calibration_factor`, its spread has the size of its error; the dots are bins of molecules (or of "
            f"atoms) with nearly one spread.\n\n![Error against spread of the committee]({CALIBRATION})"
        )
    record_errors(names[0], result.figures, remark, appendix="\n\n".join(parts), defaults=result.defaults)
