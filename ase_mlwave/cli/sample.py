"""``mlwave sample``: geometries of molecules from dynamics or normal modes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class _Method(StrEnum):
    """How geometries are drawn."""

    LANGEVIN = "langevin"
    MODES = "modes"


def sample(
    molecule: Annotated[
        str,
        typer.Argument(help="A file (.extxyz, .xyz, .npz, .db), a SMILES (CCO, smiles:CO) or a name (H2O, ase:CO)."),
    ],
    output: Annotated[Path, typer.Argument(help="File to write: .extxyz or .db.")],
    temperature: Annotated[
        list[float] | None, typer.Option("-t", "--temperature", help="K; repeat for several.", show_default="300")
    ] = None,
    number: Annotated[int, typer.Option("-n", "--number", help="Geometries of each molecule and temperature.")] = 100,
    method: Annotated[
        _Method, typer.Option(help="Langevin dynamics, or thermal displacements along normal modes.")
    ] = _Method.LANGEVIN,
    level: Annotated[str, typer.Option(help="Level of theory that drives them.")] = "gfn2-xtb",
    seed: Annotated[int, typer.Option(help="Of velocities, random forces and displacements.")] = 0,
    timestep: Annotated[float, typer.Option(help="Of the dynamics, fs.")] = 0.5,
    interval: Annotated[float, typer.Option(help="Between geometries, fs.")] = 50.0,
    equilibration: Annotated[float, typer.Option(help="Before the first geometry at each temperature, fs.")] = 500.0,
    threads: Annotated[int, typer.Option(help="Threads of the calculator.")] = 1,
) -> None:
    """Draw geometries of molecules at given temperatures."""
    from ase_mlwave.console import Console, progress_bar
    from ase_mlwave.data.writers import check_output, write_dataset
    from ase_mlwave.reference.dynamics import LangevinSettings
    from ase_mlwave.reference.levels import LevelOfTheory
    from ase_mlwave.reference.molecules import starting_geometries
    from ase_mlwave.reference.sampling import sample_geometries

    check_output(output)
    settings = LangevinSettings(timestep=timestep, interval=interval, equilibration=equilibration)
    theory = LevelOfTheory.parse(level)
    starts = starting_geometries(molecule, seed)
    console = Console(stderr=True)
    with progress_bar(console) as bar:
        task = bar.add_task("sampling", total=None)
        geometries = sample_geometries(
            starts,
            theory,
            temperature or [300.0],
            number,
            seed,
            method=method.value,
            settings=settings,
            n_threads=threads,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_dataset(output, geometries)
    console.print(f"{len(geometries)} geometries -> {output}", soft_wrap=True, highlight=False)
