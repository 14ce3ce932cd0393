"""``mlwave run``: one YAML file from a molecule to a measured model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ase_mlwave.cli._reading import print_line


def run(
    recipe: Annotated[Path, typer.Argument(help="YAML file; examples/recipe has one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value, e.g. sample.number=20.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what each step does and about how long it takes; write nothing.")
    ] = False,
    redo: Annotated[
        str | None, typer.Option(help="Remove what this step and those after it have left: sample, label, ...")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show how far training is: a bar, or a line a minute.")] = True,
) -> None:
    """From a molecule to a measured model: sample, label, train, evaluate with its card, by one YAML file.

    May be interrupted or killed at any moment: the same command skips what is done and goes on where it stopped
    (sampling and evaluation begin anew). A recipe that has changed since is refused, with what to do.
    """
    from ase_mlwave.cli._forecast import forecast
    from ase_mlwave.cli._recipe import STEPS, Recipe, State, do_step
    from ase_mlwave.console import Console

    command = shlex.join(["mlwave", "run", str(recipe), *(overrides or [])])
    chosen, notes = Recipe.read(recipe, overrides or []), Console(stderr=True)
    if redo is not None and not dry_run:
        State.known(chosen).forget(redo)
    state = State.read(chosen, command)
    if dry_run:
        forecast(state, Console())
        return
    step = STEPS[0]
    try:
        for place, step in enumerate(STEPS, start=1):
            done = state.is_done(step)
            print_line(
                notes, f"step {place} of {len(STEPS)}, {step}: {chosen.path(step)}" + (" is there" if done else "")
            )
            if not done:
                state.begin(step)
                do_step(chosen, step, progress=progress)
                state.finish(step)
    except KeyboardInterrupt as interrupt:
        how_far = f" ({interrupt})" if str(interrupt) else ""
        print_line(notes, f"stopped in the step {step}{how_far}. Go on with\n  {command}")
        raise
    print_line(Console(), f"model in {chosen.model}, its errors in {chosen.model / 'README.md'}")
