"""Directives that write options from where the program has them: settings classes, and the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, get_args

import typer
from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from typer.cli import get_docs_for_click

from ase_mlwave.cli.main import app

__all__ = ["Commands", "Settings", "setup"]


class Settings(SphinxDirective):
    """Write the fields of a settings class, ``module:Class``, as a table; fields of fields are ``name.field``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        module, _, name = self.arguments[0].partition(":")
        rows = _fields(getattr(import_module(module), name))
        return self.parse_text_to_nodes(_table(("setting", "default", "what it is"), rows), offset=self.content_offset)


class Commands(SphinxDirective):
    """Write what typer says of ``mlwave`` and its verbs."""

    def run(self) -> list[nodes.Node]:
        """Make one section a verb."""
        command = typer.main.get_command(app)
        text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="mlwave"), name="mlwave")
        verbs = text[text.index("## ") :]
        return self.parse_text_to_nodes(verbs, offset=self.content_offset, allow_section_headings=True)


def _fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Give name, default and documentation of each field, those of nested settings among them."""
    for name, field in kind.model_fields.items():
        nested = _settings_in(field.annotation)
        default = "" if nested else _default(field)
        yield f"`{prefix}{name}`", default, _attribute_docs(kind, name)
        if nested:
            yield from _fields(nested, f"{prefix}{name}.")


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    """Find the settings class in ``Class`` or ``Class | None``."""
    for part in (annotation, *get_args(annotation)):
        if inspect.isclass(part) and issubclass(part, BaseModel):
            return part
    return None


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    return "" if value is None else f"`{value}`"


def _attribute_docs(kind: type[BaseModel], name: str) -> str:
    """Read the docstring below an attribute, of the class that defines it last."""
    for one in kind.__mro__:
        lines = _docs_of_module(one.__module__).get((one.__qualname__, name))
        if lines:
            return " ".join(" ".join(lines).split()).replace("``", "`")
    raise ValueError(f"{kind.__module__}.{kind.__qualname__}.{name} has no docstring")


@cache
def _docs_of_module(module: str) -> dict[tuple[str, str], list[str]]:
    return {} if module == "builtins" else ModuleAnalyzer.for_module(module).find_attr_docs()


def _table(titles: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx the directives."""
    app.add_directive("settings", Settings)
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
