"""``mlwave train``: train a model from a YAML file of settings."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ase_mlwave.console import Console

#: Value of the setting ``kind`` -> where training that model is at home.
_HOMES = {kind: f"ase_mlwave.models.{kind}.training" for kind in ("amons", "phisnet", "qdf")}


def train(
    settings: Annotated[Path, typer.Argument(help="YAML file; the folders of examples/ have some.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value, e.g. steps=1000.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of this run.")] = False,
    progress: Annotated[bool, typer.Option(help="Show how far it is: a bar, or a line a minute.")] = True,
) -> None:
    """Train a model. Ctrl-C stops after saving a checkpoint; --resume goes on as if nothing had happened."""
    from ase.calculators.calculator import InputError
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from ase_mlwave.errors import suggestion
    from ase_mlwave.models.training.yaml_settings import read_yaml

    words = overrides or []
    kind = str(read_yaml(settings, words).get("kind", "phisnet"))
    if kind not in _HOMES:
        raise InputError(f"kind is {kind!r}. {suggestion(kind, _HOMES)}")
    console = Console()
    with _resumable(_command(settings, words, progress=progress)):
        chosen = import_module(f"{_HOMES[kind]}.settings").TrainingSettings.read(settings, words)
        folder = import_module(f"{_HOMES[kind]}.run").train(chosen, resume=resume, progress=progress)
        if getattr(rank_zero_only, "rank", 0):  # one of several processes: the first has the model
            return
        if kind == "phisnet":
            _measure_levels(folder, chosen, console, progress=progress)
    _say(console, f"model written to {folder}, learning curve to {folder.parent / 'learning_curve.png'}")


def _measure_levels(folder: Path, settings: Any, console: Console, *, progress: bool) -> None:
    """Measure on validation molecules which level of energy a PhiSNet is good for, and say so."""
    from ase_mlwave.data.readers import read_dataset
    from ase_mlwave.evaluation.matrices import measure_levels
    from ase_mlwave.models.training.bar import TrainingBar

    with ExitStack() as bars:

        def counter(what: str, total: int) -> Callable[[int], None]:
            bars.close()  # one bar at a time
            return bars.enter_context(TrainingBar(f"measuring {what}", total, shown=progress)).advance

        options = {name: getattr(settings, name) for name in ("energy_key", "forces_key", "units")}
        validation = read_dataset(settings.data, **options).split(settings.valid_split)
        found = measure_levels(folder, validation, progress=counter)
    _say(console, found)


@contextmanager
def _resumable(command: str) -> Iterator[None]:
    """Say after an interrupt how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        how_far = str(interrupt) or "stopped outside of the training steps: no step is lost"
        _say(Console(stderr=True), f"{how_far}. Go on with\n  {command}")
        raise


def _command(settings: Path, words: Sequence[str], *, progress: bool) -> str:
    """Write the command that goes on."""
    return shlex.join(["mlwave", "train", str(settings), *words, "--resume", *([] if progress else ["--no-progress"])])


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
