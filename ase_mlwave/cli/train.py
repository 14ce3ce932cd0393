"""``mlwave train``: train a model from a YAML file of settings."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_mlwave.console import Console

if TYPE_CHECKING:
    from ase_mlwave.models.kinds import Kind


def train(
    settings: Annotated[Path, typer.Argument(help="YAML file; the folders of examples/ have some.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value, e.g. steps=1000.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of this run.")] = False,
    progress: Annotated[bool, typer.Option(help="Show how far it is: a bar, or a line a minute.")] = True,
) -> None:
    """Train a model. Ctrl-C stops after saving a checkpoint; --resume goes on as if nothing had happened."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from ase_mlwave.models.kinds import find_kind
    from ase_mlwave.models.training.yaml_settings import read_yaml

    words = overrides or []
    kind = find_kind(str(read_yaml(settings, words).get("kind", "phisnet")), str(settings))
    console = Console()
    with _resumable(_command(settings, words, progress=progress)):
        training = kind.load("training")
        chosen = training.TrainingSettings.read(settings, words)
        folder = training.train(chosen, resume=resume, progress=progress)
        if getattr(rank_zero_only, "rank", 0):  # one of several processes: the first has the model
            return
        if kind.after_training is not None:
            _say(console, _measured(kind, folder, chosen, progress=progress))
    _say(console, f"model written to {folder}, learning curve to {folder.parent / 'learning_curve.png'}")


def _measured(kind: Kind, folder: Path, settings: Any, *, progress: bool) -> str:
    """Measure a new model on its validation molecules, as its kind does, and give what was found in words."""
    from ase_mlwave.data.readers import read_dataset
    from ase_mlwave.models.training.bar import TrainingBar

    with ExitStack() as bars:

        def counter(what: str, total: int) -> Callable[[int], None]:
            bars.close()  # one bar at a time
            return bars.enter_context(TrainingBar(f"measuring {what}", total, shown=progress)).advance

        options = {name: getattr(settings, name) for name in ("energy_key", "forces_key", "units")}
        validation = read_dataset(settings.data, **options).split(settings.valid_split)
        return str(kind.load("after_training")(folder, validation, progress=counter))


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
