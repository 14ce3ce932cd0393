"""``mlwave join``: one model of several that were trained with other seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def join(
    models: Annotated[list[str], typer.Argument(metavar="MODELS...", help="Two or more models: names or folders.")],
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
) -> None:
    """Make one PhiSNet whose learned potential is the mean of those of several, so that their errors cancel in part.

    They are trained alone, each with another seed, and have the same settings; energies are the first one's. Measure
    the result with `mlwave evaluate OUTPUT DATA --write-card`.
    """
    from ase_mlwave.models.phisnet.joining import join_models

    typer.echo(f"wrote {join_models(models, output)}")
