"""``mlwave import-qdf``: a model of the original QDF program as a model folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class _Pooling(StrEnum):
    """What is taken over the points of a molecule."""

    SUM = "sum"
    MEAN = "mean"


def import_qdf(
    checkpoint: Annotated[Path, typer.Argument(help="Weights that the original program saved.")],
    orbitaldict: Annotated[Path, typer.Argument(help="Its dictionary of orbital types (.pickle or .json).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to write.")],
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            help="Name of a predicted property, in the order of the last layer; several times for several "
            "(default: atomization_energy for one, homo and lumo for two).",
        ),
    ] = None,
    pooling: Annotated[
        _Pooling | None, typer.Option(help="Over the points (default: sum for an atomization energy, else mean).")
    ] = None,
    radius: Annotated[float, typer.Option(help="Of the sphere of points around each atom, Angstrom.")] = 0.75,
    grid_interval: Annotated[float, typer.Option(help="Between points, Angstrom.")] = 0.3,
    level: Annotated[str, typer.Option(help="Level of theory of its training data.")] = "b3lyp/6-31g(2df,p)",
) -> None:
    """Turn a model of the original quantum deep field program into a model folder."""
    from ase.calculators.calculator import InputError

    from ase_mlwave.console import Console
    from ase_mlwave.models.qdf.published.importing import import_published

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already. Name a new folder, or remove that one first.")
    folder = import_published(
        checkpoint,
        orbitaldict,
        outputs=outputs,
        pooling=None if pooling is None else pooling.value,
        radius=radius,
        grid_interval=grid_interval,
        level=level,
    )
    folder.save(output)
    names, elements = folder.config.settings["outputs"], folder.config.elements
    Console(stderr=True).print(f"{output}: {', '.join(names)} (eV) of molecules with {', '.join(elements)}")
