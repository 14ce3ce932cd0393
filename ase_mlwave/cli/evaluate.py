"""``mlwave evaluate``: measure a model on labelled molecules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def evaluate(
    model: Annotated[str, typer.Argument(help="Name in the zoo, or a folder.")],
    data: Annotated[Path, typer.Argument(help="Labelled data: ASE database, npz or extxyz.")],
    split: Annotated[str | None, typer.Option(help="Records to use, e.g. test; all by default.")] = None,
    level: Annotated[list[str] | None, typer.Option(help="Energy levels to measure (repeat); both by default.")] = None,
    cycles: Annotated[bool, typer.Option(help="Count SCF cycles also.")] = True,
    limit: Annotated[int, typer.Option(help="Use the first N records only; 0 for all.", min=0)] = 0,
    write_card: Annotated[bool, typer.Option("--write-card", help="Write the figures into the model's card.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the figures as JSON too.")] = None,
) -> None:
    """Print the errors of a model against the labels of held-out molecules."""
    from ase.calculators.calculator import InputError

    from ase_mlwave.calculators import load_calculator
    from ase_mlwave.calculators.evaluation import evaluate as measure
    from ase_mlwave.calculators.phisnet import PhiSNetCalculator
    from ase_mlwave.data.readers import read_dataset
    from ase_mlwave.data.record import Dataset

    calculator = load_calculator(model)
    if not isinstance(calculator, PhiSNetCalculator):
        raise InputError(f"{model} is not a PhiSNet model; mlwave evaluate measures those")
    dataset = read_dataset(data)
    dataset = dataset.split(split) if split else dataset
    records = Dataset(dataset.records[:limit] if limit else dataset.records, dataset.level, dataset.source)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    notes = Console(stderr=True)
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:

        def counter(what: str, total: int) -> Callable[[int], None]:
            task = bar.add_task(what, total=total)
            return lambda done: bar.advance(task, done)

        result = measure(
            calculator, records, levels=level or ["wavefunction", "functional"], cycles=cycles, progress=counter
        )
    figures = result.figures
    table = Table(title=f"{model} on {len(records)} molecules of {data.name}" + (f", split {split}" if split else ""))
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)
    for remark in result.remarks:
        notes.print(f"note: {remark}", soft_wrap=True, highlight=False)
    if write_card:
        from ase_mlwave.model_card import record_errors

        command = f"mlwave evaluate {model} {data.name}" + (f" --split {split}" if split else "")
        record_errors(model, figures, f"On {len(records)} molecules, by `{command}`:")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        content = {"model": model, "n": len(records), **figures, "remarks": list(result.remarks)}
        output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
