"""Settings from YAML files and ``key=value`` words, checked by pydantic, with errors that name the nearest word."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from ase.calculators.calculator import InputError
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ase_mlwave.options import parse_settings
from ase_mlwave.text import LONGEST_NAME, clean, refuse_odd_strings

__all__ = ["parse_settings", "read_yaml"]

#: Bounds of a file of settings: bytes, levels of nesting, characters of a string.
_BYTES, _DEPTH, _LONGEST_STRING = 10**6, 20, 4000


def read_yaml(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply ``key=value`` words, such as ``optimiser.learning_rate=1e-3``.

    Parameters
    ----------
    path : str or path
        File with a mapping of settings.
    overrides : sequence of str
        Dotted keys with values in YAML's notation; a single one may stand alone.

    Returns
    -------
    dict
        Plain Python values.

    Raises
    ------
    InputError
        If the file is missing or no mapping, or a word is not ``key=value``. Values are what is written: references
        (``${...}``, with which OmegaConf reads the environment) and YAML's anchors and tags are refused, and so are
        files that are large or deeply nested.
    """
    if isinstance(overrides, str):  # whose words would be its letters
        overrides = [overrides]
    wrong = [word for word in overrides if not word.partition("=")[1] or word.startswith(("=", "-"))]
    if wrong:
        raise InputError(f"{wrong[0]!r} is not a setting; write key=value, such as steps=1000")
    try:
        text = _text(Path(path))
        for one in (text, *(word.partition("=")[2] for word in overrides)):
            _refuse_more_than_values(one)
        content = OmegaConf.load(io.StringIO(text))
        if not isinstance(content, DictConfig):
            raise InputError(f"{path} must hold a mapping of settings, it holds a {type(content).__name__}")
        merged = OmegaConf.merge(content, OmegaConf.from_dotlist(list(overrides)))
        plain = cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=False))
        refuse_odd_strings(plain, "it", _LONGEST_STRING)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as settings: {clean(str(error))}") from error
    return {str(key): value for key, value in plain.items()}


def _text(path: Path) -> str:
    """Read a file of sensible size."""
    try:
        if not path.is_file():
            raise FileNotFoundError
        if path.stat().st_size > _BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, more than the {_BYTES} that are read")
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, OSError) as error:  # a name that is too long, no permission
        shown = str(path)[:LONGEST_NAME]
        raise InputError(f"there is no settings file {shown!r}; examples/ has some to start from") from error


def _refuse_more_than_values(text: str) -> None:
    """Refuse, before anything is built, what makes YAML grow, refer to something else, or name a type.

    Raises
    ------
    ValueError, yaml.YAMLError
        With the line.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {line} has an anchor or an alias (&name, *name), which settings do not need")
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) is not None:
            raise ValueError(f"line {line} has a tag ({event.tag}), which settings do not need")
        if isinstance(event, yaml.ScalarEvent) and "${" in event.value:
            raise ValueError(f"line {line} refers to something else with ${{...}}; write the value itself")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise ValueError(f"line {line} is nested more than {_DEPTH} levels deep")
