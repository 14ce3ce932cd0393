"""Options of a call, written once: in settings classes whose attribute docstrings are the documentation.

A function that takes ``**options`` gets its signature and the text of its docstring from those classes (`takes`), sorts
what it was given into them (`sorted_options`), and the command line takes help and defaults from the same fields
(`default_of`, `help_of`).
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import indent
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from ase.calculators.calculator import InputError
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ase_mlwave.errors import UnknownOptionError, suggestion
from ase_mlwave.text import clean

__all__ = ["default_of", "help_of", "parse_settings", "sorted_options", "takes"]

Settings = TypeVar("Settings", bound=BaseModel)
Function = TypeVar("Function", bound=Callable[..., Any])


def takes(*kinds: type[BaseModel]) -> Callable[[Function], Function]:
    """Give a function that takes ``**options`` the signature and the documentation of settings classes.

    Parameters
    ----------
    *kinds : pydantic model classes
        With ``use_attribute_docstrings``. Their fields replace the line ``{options}`` of the function's docstring.

    Returns
    -------
    callable
        Decorator; the function itself stays what it is.
    """

    def decorate(function: Function) -> Function:
        fields = [pair for kind in kinds for pair in kind.model_fields.items()]
        signature = inspect.signature(function)
        *first, rest = signature.parameters.values()
        own = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(f)) for name, f in fields]
        function.__signature__ = signature.replace(parameters=[*first, *own, rest])  # type: ignore[attr-defined]
        lines = inspect.cleandoc(function.__doc__ or "")
        words = "\n".join(f"{name} : {_kind(f)}\n{indent(f.description or '', '    ')}" for name, f in fields)
        function.__doc__ = lines.replace("{options}", words)
        return function

    return decorate


def sorted_options(
    call: str, options: Mapping[str, Any], kinds: Sequence[type[BaseModel]], rest: Iterable[str] = ()
) -> tuple[list[Any], dict[str, Any]]:
    """Sort keywords into settings classes.

    Parameters
    ----------
    call : str
        What was called, for messages.
    options : mapping
        What was given.
    kinds : sequence of pydantic model classes
        That `takes` was given.
    rest : iterable of str
        Other keywords that are allowed.

    Returns
    -------
    settings : list
        One instance of each class.
    others : dict
        Keywords that are in ``rest``.

    Raises
    ------
    TypeError
        If a keyword is unknown; the message names the nearest.
    InputError
        If a value is not allowed.
    """
    others = list(rest)
    names = [*(name for kind in kinds for name in kind.model_fields), *others]
    unknown = [name for name in options if name not in names]
    if unknown:
        raise UnknownOptionError(f"{call} has no option {unknown[0]!r}. {suggestion(unknown[0], names)}")
    values_of = [{name: options[name] for name in kind.model_fields if name in options} for kind in kinds]
    settings = [parse_settings(kind, values) for kind, values in zip(kinds, values_of, strict=True)]
    return settings, {name: options[name] for name in others if name in options}


def default_of(kind: type[BaseModel], name: str) -> Any:
    """Return the default of a field."""
    return _default(kind.model_fields[name])


def help_of(kind: type[BaseModel], name: str) -> str:
    """Return the documentation of a field on one line, for a terminal."""
    return " ".join((kind.model_fields[name].description or "").replace("`", "").split())


def parse_settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Check settings against their class.

    Parameters
    ----------
    kind : pydantic model class
        What is wanted.
    values : mapping
        What was given.

    Returns
    -------
    an instance of ``kind``

    Raises
    ------
    InputError
        With one line per problem; an unknown name comes with the nearest known one.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            place = [str(part) for part in problem["loc"]]
            name = ".".join(place)
            if problem["type"] == "extra_forbidden":
                lines.append(f"there is no setting {name!r}. {suggestion(place[-1], _fields(kind, place[:-1]))}")
            elif problem["type"] == "missing":
                lines.append(f"the setting {name!r} is missing")
            else:
                lines.append(f"{name or 'settings'}: {problem['msg']} (given: {problem.get('input')!r})")
        raise InputError(clean("; ".join(lines))) from error


def _fields(kind: type[BaseModel], place: Sequence[str]) -> list[str]:
    """List the settings at a place of nested models."""
    for part in place:
        annotation = kind.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        kind = annotation
    return list(kind.model_fields)


def _default(field: FieldInfo) -> Any:
    return inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)


def _kind(field: FieldInfo) -> str:
    """Write a field's type as numpydoc does; a string among its annotations stands for the type."""
    written = [text for text in field.metadata if isinstance(text, str)]
    names = written or [name for name in _names(field.annotation) if name != "NoneType"]
    return " or ".join(names) + ("" if field.is_required() or field.get_default() is not None else ", optional")


def _names(annotation: Any) -> list[str]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [name for part in get_args(annotation) for name in _names(part)]
    if origin is Annotated:
        return _names(get_args(annotation)[0])
    return ["callable" if origin is Callable else getattr(annotation, "__name__", str(annotation))]
