"""Settings from YAML files and ``key=value`` words, checked by pydantic, with errors that name the nearest word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from ase.calculators.calculator import InputError
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from ase_mlwave.errors import suggestion

__all__ = ["parse_settings", "read_yaml"]

Settings = TypeVar("Settings", bound=BaseModel)


def read_yaml(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply ``key=value`` words, such as ``optimiser.learning_rate=1e-3``.

    Parameters
    ----------
    path : str or path
        File with a mapping of settings.
    overrides : sequence of str
        Dotted keys with values in YAML's notation.

    Returns
    -------
    dict
        Plain Python values.

    Raises
    ------
    InputError
        If the file is missing or no mapping, or a word is not ``key=value``.
    """
    wrong = [word for word in overrides if not word.partition("=")[1] or word.startswith(("=", "-"))]
    if wrong:
        raise InputError(f"{wrong[0]!r} is not a setting; write key=value, such as steps=1000")
    if not Path(path).is_file():
        raise InputError(f"there is no settings file {str(path)!r}; examples/ has some to start from")
    try:
        given = OmegaConf.load(path)
        if not isinstance(given, DictConfig):
            raise InputError(f"{path} must hold a mapping of settings, it holds a {type(given).__name__}")
        merged = OmegaConf.merge(given, OmegaConf.from_dotlist(list(overrides)))
        plain = cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True))
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} cannot be read as settings: {error}") from error
    return {str(key): value for key, value in plain.items()}


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
        raise InputError("; ".join(lines)) from error


def _fields(kind: type[BaseModel], place: Sequence[str]) -> list[str]:
    """List the settings at a place of nested models."""
    for part in place:
        annotation = kind.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        kind = annotation
    return list(kind.model_fields)
