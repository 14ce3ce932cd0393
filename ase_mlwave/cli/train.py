"""``mlwave train``: train a model from a YAML file of settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ase_mlwave.console import Console


def train(
    settings: Annotated[Path, typer.Argument(help="YAML file; the folders of examples/ have some.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value, e.g. steps=1000.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of this run.")] = False,
    progress: Annotated[bool, typer.Option(help="Show how far it is: a bar, or a line a minute.")] = True,
) -> None:
    """Train a model. Ctrl-C stops after saving a checkpoint; --resume goes on as if nothing had happened."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from ase_mlwave.models.training import start

    words = overrides or []
    with _resumable(_command(settings, words, progress=progress)):
        folder = start.train(settings, words, resume=resume, progress=progress)
        if getattr(rank_zero_only, "rank", 0):  # one of several processes: the first has the model
            return
    curve = folder.parent / "learning_curve.png"
    _print_line(Console(), f"model written to {folder}" + (f", learning curve to {curve}" if curve.exists() else ""))


@contextmanager
def _resumable(command: str) -> Iterator[None]:
    """Say after an interrupt how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        how_far = str(interrupt) or "stopped outside of the training steps: no step is lost"
        _print_line(Console(stderr=True), f"{how_far}. Go on with\n  {command}")
        raise


def _command(settings: Path, words: Sequence[str], *, progress: bool) -> str:
    """Write the command that goes on."""
    return shlex.join(["mlwave", "train", str(settings), *words, "--resume", *([] if progress else ["--no-progress"])])


def _print_line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
