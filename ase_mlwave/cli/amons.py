"""``mlwave amons``: the fragments of a query, and a model that learns the query from them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ase_mlwave.models.amons.learning.settings import StudySettings
from ase_mlwave.options import default_of, help_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from rich.table import Table

    from ase_mlwave.models.amons import Amon
    from ase_mlwave.models.amons.learning.study import LearningPoint

_KCAL_PER_MOL = 23.060547830619  # in one eV

_Query = Annotated[
    str, typer.Argument(help="A SMILES, or a file: .sdf, .mol, .pdb, .xyz, .cif, ...", show_default=False)
]
_ContactHeavy = Annotated[
    int | None,
    typer.Option(help="Largest amons of molecules that touch; needs coordinates.", show_default="none of these"),
]


def _option(field: str, *names: str, **more: Any) -> Any:
    """Make an option of a setting of `StudySettings`, whose documentation is the help."""
    shown = default_of(StudySettings, field) is not None
    return typer.Option(*names, help=help_of(StudySettings, field), show_default=shown, **more)


class _QueryFirst(TyperGroup):
    """Take a first word that is none of the verbs for the query of ``list``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


amons = typer.Typer(
    cls=_QueryFirst,
    no_args_is_help=True,
    help="List the amons of a query, or learn the query from them. `mlwave amons QUERY` is `mlwave amons list QUERY`.",
)


@amons.command("list")
def _list_amons(
    query: _Query,
    max_heavy: Annotated[int, typer.Option(help="Heavy atoms of the largest amons.")] = 7,
    max_contact_heavy: _ContactHeavy = None,
    draw: Annotated[Path | None, typer.Option(help="Draw them: .png or .svg.", show_default="no")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write their geometries: .extxyz.", show_default="no")
    ] = None,
) -> None:
    """List the amons of a query: all chemically sensible fragments, and in how many places each occurs."""
    from ase_mlwave.console import Console
    from ase_mlwave.data.convert import atoms_from_record
    from ase_mlwave.models.amons import amon_geometries, find_amons
    from ase_mlwave.plotting.amons import check_picture, draw_amons

    if draw is not None:
        check_picture(draw)
    if output is not None:
        _check_output(output)
    structure = _read(query)
    fragments = find_amons(structure, max_heavy, max_contact_heavy=max_contact_heavy, allow_charges=True)
    console, notes = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(_amon_table(fragments))
    console.print()
    console.print(_size_table(fragments))
    if draw is not None:
        draw_amons(fragments, draw)
        notes.print(f"{draw}: {len(fragments)} amons")
    if output is not None:
        from ase.io import write

        records = amon_geometries(structure, max_heavy, max_contact_heavy=max_contact_heavy, allow_charges=True)
        write(output, [atoms_from_record(_described(record)) for record in records], format="extxyz")
        notes.print(f"{output}: {len(records)} geometries of {len(fragments)} amons")


@amons.command("fit")
def _fit(
    queries: Annotated[
        list[str],
        typer.Argument(
            metavar="QUERY...", help="SMILES, or files: .sdf, .mol, .pdb, .xyz, .cif, ...", show_default=False
        ),
    ],
    reference: Annotated[str, _option("reference")] = default_of(StudySettings, "reference"),
    max_heavy: Annotated[int | None, _option("max_heavy")] = None,
    max_contact_heavy: Annotated[int | None, _option("max_contact_heavy")] = None,
    database: Annotated[str | None, _option("database")] = None,
    output: Annotated[Path | None, _option("folder", "--output", "-o")] = None,
    displaced: Annotated[int, _option("displaced", min=0)] = default_of(StudySettings, "displaced"),
    coarse: Annotated[str | None, _option("coarse")] = None,
    base: Annotated[str | None, _option("base")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes; with --dask amons in work at a time.", show_default="1; all of Dask's"),
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="Label on a Dask cluster: its scheduler's address, or scheduler file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the learning curve: .png, .svg or .pdf.", show_default="no")
    ] = None,
) -> None:
    """Learn a query from its amons: label those that the database lacks, fit, and show how the energy converges.

    Several queries share one model, which is fitted to the amons of all of them.
    May be interrupted or killed at any moment: the same command goes on where it stopped. Several at once may share one
    database.
    """
    from ase_mlwave.calculators.amons import AmonsCalculator
    from ase_mlwave.cli._labelling import label_workers, resumable
    from ase_mlwave.console import Console
    from ase_mlwave.plotting.amons import check_picture, draw_learning_curve
    from ase_mlwave.reference.bar import LabellingBar
    from ase_mlwave.reference.levels import LevelOfTheory
    from ase_mlwave.systems.conversion import system_from_atoms

    level = LevelOfTheory.parse(reference)
    if plot is not None:
        check_picture(plot, (".png", ".svg", ".pdf"))
        _check_single(queries)
    structures = [_read(query) for query in queries]
    notes = Console(stderr=True, soft_wrap=True, highlight=False)
    address = str(StudySettings(reference=reference, database=database).address)
    with resumable(notes, address), label_workers(dask, workers) as place, LabellingBar(notes, level.name) as bar:
        calc = AmonsCalculator.for_query(
            structures,
            reference=reference,
            max_heavy=max_heavy,
            max_contact_heavy=max_contact_heavy,
            database=database,
            folder=output,
            displaced=displaced,
            coarse=coarse,
            base=base,
            executor=place.executor,
            n_workers=place.n_workers,
            progress=bar,
        )
    assert calc.study is not None
    notes.print(
        f"{calc.parameters['model']}: learned from {len(calc.study.records)} geometries of {len(calc.extras['amons'])} "
        f"amons at {level.name}, {calc.study.n_new} of them new"
    )
    parts = calc.study.parts or (calc.study,)
    for query, structure, part in zip(queries, structures, parts, strict=True):
        geometry = system_from_atoms(_with_coordinates(structure)) if part.query is None else part.query
        points = calc.study.learning_curve(geometry)
        if len(queries) > 1:
            Console(soft_wrap=True).print(f"\n{query}", highlight=False, markup=False)
        Console(soft_wrap=True).print(_curve_table(points))
    if plot is not None:
        sizes, energies = [point.max_heavy for point in points], [point.energy for point in points]
        draw_learning_curve(
            sizes, energies, [point.uncertainty for point in points], plot, f"{queries[0]} ({level.name})"
        )
        notes.print(f"{plot}: the learning curve")


def _read(query: str) -> Any:
    """Return what a query's text stands for: coordinates of any file that has cells, else the text."""
    from ase_mlwave.models.amons.fragments.perception import RDKIT_FILES, looks_like_a_file, read_with_ase

    path = Path(query)
    if not looks_like_a_file(query) or path.suffix.lower() in RDKIT_FILES or not path.is_file():
        return query
    return read_with_ase(path)


def _check_single(queries: Sequence[str]) -> None:
    from ase.calculators.calculator import InputError

    if len(queries) > 1:
        raise InputError(f"--plot draws the curve of one query, but there are {len(queries)}. Leave it out.")


def _with_coordinates(structure: Any) -> Atoms:
    """Return a geometry for a query that has none: RDKit's of its SMILES, relaxed with MMFF94."""
    from rdkit import Chem

    from ase_mlwave.data.convert import atoms_from_record
    from ase_mlwave.models.amons.fragments.perception import molecule_from
    from ase_mlwave.reference.molecules import from_smiles

    return atoms_from_record(from_smiles(Chem.MolToSmiles(Chem.RemoveHs(molecule_from(structure).to_rdkit()))))


def _check_output(output: Path) -> None:
    from ase.calculators.calculator import InputError

    if output.suffix != ".extxyz":
        raise InputError(f"geometries are written to an .extxyz file (got {output.name!r}).")
    if not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent} for {output.name}.")


def _described(record: Any) -> Any:
    """Keep of a record's entries what an extxyz file takes."""
    from dataclasses import replace

    kept = {key: list(value) if isinstance(value, tuple) else value for key, value in record.info.items()}
    return replace(record, info=kept)


def _amon_table(fragments: Sequence[Amon]) -> Table:
    table = _table("heavy atoms", "amon", "places in the query")
    for amon in fragments:
        table.add_row(str(amon.n_heavy), amon.smiles, str(amon.count))
    return table


def _size_table(fragments: Sequence[Amon]) -> Table:
    table = _table("heavy atoms", "amons", "places")
    places: Counter[int] = Counter()
    for amon in fragments:
        places[amon.n_heavy] += amon.count
    for size, number in sorted(Counter(amon.n_heavy for amon in fragments).items()):
        table.add_row(str(size), str(number), str(places[size]))
    table.add_section()
    table.add_row("all", str(len(fragments)), str(sum(places.values())))
    return table


def _curve_table(points: Sequence[LearningPoint]) -> Table:
    table = _table("heavy atoms", "geometries", "energy, eV", "change, kcal/mol", "uncertainty, kcal/mol")
    before = None
    for point in points:
        change = "" if before is None else f"{(point.energy - before) * _KCAL_PER_MOL:+.2f}"
        uncertainty = f"{point.uncertainty * _KCAL_PER_MOL:.2f}"
        table.add_row(str(point.max_heavy), str(point.n_amons), f"{point.energy:.4f}", change, uncertainty)
        before = point.energy
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column == "amon" else "right", no_wrap=True)
    return table
