"""What the verbs that read data have in common: options, and one line that says what was read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ase_mlwave.data.record import Dataset

__all__ = ["EnergyKey", "ForcesKey", "Units", "print_line", "read_data"]

EnergyKey = Annotated[
    str | None, typer.Option(help="Name of the energies in an extxyz file or ASE database.", show_default="usual names")
]
ForcesKey = Annotated[
    str | None, typer.Option(help="Name of the forces; of a gradient: =-NAME.", show_default="usual names")
]
Units = Annotated[
    str | None,
    typer.Option(help="Of energies and forces: eV, kcal/mol, kJ/mol, Hartree.", show_default="the file's, or eV"),
]


def read_data(
    path: str | Path,
    console: Console,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    units: str | None = None,
    level: str | None = None,
) -> Dataset:
    """Read a data set and say what it holds."""
    from ase_mlwave.data.readers import read_dataset
    from ase_mlwave.data.summary import summary

    dataset = read_dataset(path, energy_key=energy_key, forces_key=forces_key, units=units, level=level)
    print_line(console, summary(dataset))
    return dataset


def print_line(console: Console, line: str) -> None:
    """Print one line as it is."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
