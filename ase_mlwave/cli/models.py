"""``mlwave models``: what is in the zoo."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ase_mlwave.models.config import ModelConfig

#: Characters of the longest card that is drawn: hostile Markdown takes time with the square of its length.
_LONGEST_CARD = 50_000


def models(name: Annotated[str, typer.Argument(help="Show the card of this model (a name or a folder).")] = "") -> None:
    """List the models that ship with the package, or show the card of one.

    In a pipe the list has one line a model: name, kind, elements, level and errors, separated by tabs.
    """
    from rich.markdown import Markdown

    from ase_mlwave.console import Console
    from ase_mlwave.models import folder as zoo

    console = Console()
    if name:
        card = zoo.read_card(name)
        is_rendered = console.is_terminal and len(card) <= _LONGEST_CARD
        console.print(Markdown(card)) if is_rendered else typer.echo(card)
        return
    names = zoo.list_models()
    if not names:
        typer.echo("The zoo is empty: train a model with `mlwave train`.")
    for one in names:
        config = zoo.read_config(one)
        typer.echo(_paragraph(one, config, console.width) if console.is_terminal else "\t".join(_fields(one, config)))


def _fields(name: str, config: ModelConfig) -> tuple[str, str, str, str, str]:
    errors = ", ".join(f"{key} {value:g}" for key, value in config.errors.items())
    return name, config.kind, " ".join(config.elements), config.level, errors


def _paragraph(name: str, config: ModelConfig, width: int) -> str:
    """Write a model for a terminal of any width: a line that names it, and its errors on held-out data indented."""
    *head, errors = _fields(name, config)
    first, rest = "  ".join(head), f"errors on held-out data: {errors}"
    texts = ((first, "", "  "), (rest, "  ", "  "))
    lines = [
        fill(
            text, width, initial_indent=begin, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        for text, begin, indent in texts
        if errors or text is first
    ]
    return "\n".join([typer.style(name, bold=True) + lines[0][len(name) :], *lines[1:]])
