"""``mlwave train``: train a model from a YAML file of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def train(
    settings: Annotated[Path, typer.Argument(help="YAML file; examples/phisnet-water has two.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value, e.g. steps=1000.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of this run.")] = False,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train a model. Ctrl-C stops after saving a checkpoint; --resume goes on as if nothing had happened."""
    from ase_mlwave.phisnet.training.run import train as run
    from ase_mlwave.phisnet.training.settings import TrainingSettings

    chosen = TrainingSettings.read(settings, overrides or [])
    folder = run(chosen, resume=resume, progress=progress)
    Console().print(f"model written to [bold]{folder}[/bold], learning curve to {folder.parent / 'learning_curve.png'}")
