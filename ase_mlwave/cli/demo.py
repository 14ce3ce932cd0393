"""``mlwave demo``: what the shipped models do for an organic molecule and for water, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ase_mlwave.console import Console, progress_bar


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("demo-output"),
    molecule: Annotated[str, typer.Option(help="SMILES of a small molecule.")] = "CCO",
    model: Annotated[str, typer.Option(help="Model for it.")] = "phisnet-chno",
) -> None:
    """Relax a molecule, show its orbitals, save SCF cycles, run water's dynamics: tables here, pictures in a folder."""
    from ase_mlwave.calculators.phisnet import PhiSNetCalculator
    from ase_mlwave.demo.run import WATER_MODEL, run_demo
    from ase_mlwave.reference.molecules import from_smiles

    for name in (model, WATER_MODEL):
        PhiSNetCalculator(name)  # refuses a model that is not there before anything is written
    from_smiles(molecule)  # the same of what is no SMILES
    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    with progress_bar(console) as bar:
        tasks: dict[str, object] = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        report = run_demo(molecule, model, output, progress)
    for section in report:
        table = Table(title=section.title, caption=section.remark, title_justify="left", caption_justify="left")
        for k, name in enumerate(section.columns):
            table.add_column(name, justify="left" if k == 0 else "right")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
    console.print(f"pictures: {', '.join(str(output / section.picture) for section in report)}")
