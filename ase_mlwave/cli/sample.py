"""``mlwave sample``: geometries of molecules from dynamics or normal modes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ase_mlwave.cli._options import takes_settings
from ase_mlwave.reference.settings import SamplingSettings


@takes_settings(SamplingSettings, names={"temperature": ("-t", "--temperature"), "number": ("-n", "--number")})
def sample(
    settings: SamplingSettings,
    molecule: Annotated[
        str,
        typer.Argument(help="A file (.extxyz, .xyz, .npz, .db), a SMILES (CCO, smiles:CO) or a name (H2O, ase:CO)."),
    ],
    output: Annotated[Path, typer.Argument(help="File to write: .extxyz or .db.")],
) -> None:
    """Draw geometries of molecules at given temperatures."""
    from ase_mlwave.console import Console, progress_bar
    from ase_mlwave.data.writers import check_output, write_dataset
    from ase_mlwave.reference.levels import LevelOfTheory
    from ase_mlwave.reference.molecules import starting_geometries
    from ase_mlwave.reference.sampling import sample_geometries

    check_output(output)
    theory = LevelOfTheory.parse(settings.level)
    starts = starting_geometries(molecule, settings.seed)
    console = Console(stderr=True)
    with progress_bar(console) as bar:
        task = bar.add_task("sampling", total=None)
        geometries = sample_geometries(
            starts,
            theory,
            settings.temperature,
            settings.number,
            settings.seed,
            method=settings.method,
            settings=settings.langevin,
            n_threads=settings.threads,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_dataset(output, geometries)
    console.print(f"{len(geometries)} geometries -> {output}", soft_wrap=True, highlight=False)
