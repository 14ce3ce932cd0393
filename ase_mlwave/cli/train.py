"""``mlwave train``: train a model from a YAML file of settings."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from ase_mlwave.console import Console

#: Value of the setting ``kind`` -> where training that model is at home.
_HOMES = {kind: f"ase_mlwave.{kind}.training" for kind in ("amons", "phisnet", "qdf")}


def train(
    settings: Annotated[Path, typer.Argument(help="YAML file; examples/phisnet-water has two.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value, e.g. steps=1000.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of this run.")] = False,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train a model. Ctrl-C stops after saving a checkpoint; --resume goes on as if nothing had happened."""
    from ase.calculators.calculator import InputError

    from ase_mlwave.errors import suggestion
    from ase_mlwave.settings import read_yaml

    kind = str(read_yaml(settings, overrides or []).get("kind", "phisnet"))
    if kind not in _HOMES:
        raise InputError(f"kind is {kind!r}. {suggestion(kind, _HOMES)}")
    chosen = import_module(f"{_HOMES[kind]}.settings").TrainingSettings.read(settings, overrides or [])
    folder = import_module(f"{_HOMES[kind]}.run").train(chosen, resume=resume, progress=progress)
    Console().print(f"model written to {folder}, learning curve to {folder.parent / 'learning_curve.png'}")
