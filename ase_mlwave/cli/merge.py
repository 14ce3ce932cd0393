"""``mlwave merge``: join data sets of one level of theory."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path
from typing import Annotated, Literal

import typer

from ase_mlwave.cli._reading import EnergyKey, ForcesKey, Units


def merge(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES...", help="Data sets: .db, .extxyz, .xyz, .npz or postgresql://...")
    ],
    output: Annotated[Path, typer.Argument(help="File to write: .db (everything) or .extxyz (without matrices).")],
    level: Annotated[str | None, typer.Option(help="Level of theory of files that do not name it.")] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    units: Units = None,
    split: Annotated[
        str | None, typer.Option(help="Divide the result anew: train=0.8,valid=0.1,test=0.1.", show_default="kept")
    ] = None,
    split_by: Annotated[
        str | None, typer.Option(help="Keep together what shares this entry: smiles, formula, ...")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    having: Annotated[
        Literal["energy", "forces", "dipole"] | None, typer.Option(help="Leave out molecules without this label.")
    ] = None,
) -> None:
    """Join data sets of one level of theory, and of the same settings where both are known.

    Copies of a geometry are merged; other labels or splits for it are refused. Options for reading hold
    for all files: convert one that needs its own with `mlwave merge FILE NEW` first.
    """
    from dataclasses import replace

    from ase_mlwave.cli._reading import print_line, read_data
    from ase_mlwave.console import Console
    from ase_mlwave.data.duplicates import merge_copies
    from ase_mlwave.data.splits import assign_splits, parse_fractions
    from ase_mlwave.data.summary import summary
    from ase_mlwave.data.writers import check_output, write_dataset

    check_output(output)
    fractions = None if split is None else parse_fractions(split)
    console = Console(stderr=True)
    options = {"energy_key": energy_key, "forces_key": forces_key, "units": units, "level": level}
    joined = reduce(add, [read_data(path, console, **options) for path in files])
    if fractions is not None:
        joined = assign_splits(joined, fractions, seed, split_by)
    merged = merge_copies(joined.records, joined.source)
    joined = replace(joined, records=merged.records)
    if merged.n_copies:
        print_line(console, merged.in_words())
    if having is not None:
        joined = replace(joined, records=tuple(record for record in joined if having in record.labels))
    write_dataset(output, joined)
    print_line(console, f"-> {summary(replace(joined, source=str(output), notes=()))}")
