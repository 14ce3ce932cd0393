"""``mlwave models``: what is in the zoo."""

from __future__ import annotations

from typing import Annotated

import typer


def models(name: Annotated[str, typer.Argument(help="Show the card of this model (a name or a folder).")] = "") -> None:
    """List the models that ship with the package, or show the card of one."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from ase_mlwave import zoo

    console = Console()
    if name:
        card = zoo.read_card(name)
        console.print(Markdown(card) if console.is_terminal else card, soft_wrap=not console.is_terminal)
        return
    names = zoo.list_models()
    if not names:
        console.print("The zoo is empty: train a model with `mlwave train`.")
        return
    table = Table(box=None, header_style="bold")
    for column in ("name", "kind", "elements", "level", "errors on held-out data"):
        table.add_column(column)
    for one in names:
        config = zoo.read_config(one)
        errors = "\n".join(f"{key} {value:g}" for key, value in config.errors.items())
        table.add_row(one, config.kind, " ".join(config.elements), config.level, errors)
    console.print(table)
