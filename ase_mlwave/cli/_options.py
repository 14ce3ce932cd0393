"""Options of a verb from a settings class: names, types, defaults and help are written there, once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from ase_mlwave.options import default_of, help_of, parse_settings

__all__ = ["takes_settings"]

#: What typer does not know -> what it knows.
_AS_LISTS = {tuple[float, ...]: list[float], tuple[str, ...] | None: list[str] | None}


def takes_settings(
    kind: type[BaseModel], *, names: Mapping[str, tuple[str, ...]] | None = None, shown: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb, whose first parameter is ``settings``, the fields of a settings class as options.

    Parameters
    ----------
    kind : pydantic model class
        With ``use_attribute_docstrings``.
    names : mapping, optional
        Field -> names of its option, where they are not typer's.
    shown : mapping, optional
        Field -> what the help says of a default that is chosen later.

    Returns
    -------
    callable
        Decorator. What it makes takes the fields as keywords; they are checked before the verb begins.
    """
    names, shown = names or {}, shown or {}

    def option(name: str) -> inspect.Parameter:
        default, annotation = default_of(kind, name), kind.model_fields[name].annotation
        words: Any = shown.get(name, default is not None)
        words = typer.Option(*names.get(name, ()), help=help_of(kind, name), show_default=words)
        default = list(default) if isinstance(default, tuple) else default
        annotated: Any = Annotated[_AS_LISTS.get(annotation, annotation), words]  # type: ignore[arg-type]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotated)

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @wraps(verb)
        def run(*words: Any, **given: Any) -> None:
            chosen = {name: given.pop(name) for name in kind.model_fields if name in given}
            verb(parse_settings(kind, chosen), *words, **given)

        _, *own = inspect.signature(verb, eval_str=True).parameters.values()
        options = [option(name) for name in kind.model_fields]
        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        return run

    return decorate
