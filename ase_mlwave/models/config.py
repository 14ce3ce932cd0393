"""What a model is: the content of ``config.json`` in a model folder, with its format number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn

from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from ase_mlwave.models.kinds import find_kind
from ase_mlwave.text import LONGEST_NAME, clean, refuse_odd_strings

__all__ = [
    "FORMAT",
    "ModelConfig",
    "TrainingData",
    "checksum",
    "format_config",
    "parse_config",
]

#: Number of the format that this version writes; it reads this one and those that ``_UPGRADES`` lifts to it.
FORMAT = 2
_FIRST_WITH_CHECKSUM = 2
_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda raw: {**raw, "format": 2, "settings": _without_measure(raw)},  # what else format 2 added has defaults
}

#: Characters of the longest string in ``config.json``.
_LONGEST_STRING = 4000
_SYMBOLS = tuple(chemical_symbols[1:])


class TrainingData(BaseModel):
    """Say what a model learned from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, BeforeValidator(clean)]
    """Where the data came from, in words."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """``Dataset.content_hash()`` of the training records; of an imported model, the hash of the file it came from."""
    n_records: int | None = Field(ge=1)
    """Number of training records; None where it is not known (an imported model)."""


class ModelConfig(BaseModel):
    """Describe a model: the content of ``config.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    """Format of the folder."""
    kind: str
    """Name of a kind of `ase_mlwave.models.kinds`."""
    settings: dict[str, Any]
    """Settings of the network; ``elements`` and ``level`` are always among them."""
    training_data: TrainingData
    """What the model learned from."""
    errors: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Measured on held-out data; each name ends in its unit, such as ``hamiltonian_mae_uHa``."""
    thresholds: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Entry of ``calc.extras`` -> value past which the calculator warns that it is out of its domain."""
    limits: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Entry of ``calc.extras`` -> value past which the calculator raises `OutOfDomainError`."""
    defaults: dict[str, bool | int | FiniteFloat | str | None] = Field(default_factory=dict)
    """Option of the calculator -> its default for this model, as the measured errors support it."""
    charges: tuple[int, ...] = (0,)
    """Total charges that the model was made for."""
    spins: tuple[int, ...] = (0,)
    """Numbers of unpaired electrons that the model was made for."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Packages that the model was trained with."""
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the bytes of ``model.safetensors``."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that the model knows."""
        return tuple(self.settings["elements"])

    @property
    def level(self) -> str:
        """Level of theory of the training data."""
        return str(self.settings["level"])


def checksum(fields: Mapping[str, Any]) -> str:
    """Compute the SHA-256 that ``config.json`` carries over its own content.

    Parameters
    ----------
    fields : mapping
        All of the file; an entry ``checksum`` is left out.

    Returns
    -------
    str
        Hexadecimal; the same whatever the order of the fields, blanks and line ends in the file.
    """
    content = {key: value for key, value in fields.items() if key != "checksum"}
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def format_config(config: ModelConfig) -> str:
    """Write a model's description as the text of ``config.json``, with its checksum.

    Parameters
    ----------
    config : ModelConfig

    Returns
    -------
    str
        JSON; `parse_config` reads it back (``test_saved_model_comes_back_bit_for_bit``).

    Raises
    ------
    InputError
        If a number is not finite or a field is wrong, so that nothing is saved that could not be loaded.
    """
    fields = config.model_dump(mode="json")
    try:
        text = json.dumps({**fields, "checksum": checksum(fields)}, indent=2, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"the description of the model cannot be saved: {error}") from error
    parse_config(text, "the description of the model")
    return text + "\n"


def _without_measure(raw: dict[str, Any]) -> Any:
    """Say that a quantum deep field of format 1 has no measure of its domain."""
    settings = raw.get("settings")
    quadrature = raw.get("kind") == "qdf" and isinstance(settings, dict) and settings.get("field") != "published"
    return {"domain_environments": 0, **settings} if quadrature and isinstance(settings, dict) else settings


def parse_config(text: str, where: str) -> ModelConfig:
    """Parse and check the content of ``config.json``.

    Parameters
    ----------
    text : str
        JSON.
    where : str
        Name of the file, for messages.

    Returns
    -------
    ModelConfig
        Lifted to the present format.

    Raises
    ------
    InputError
        If it is not JSON, its format is newer or unknown, it was changed since it was saved, or a field is missing or
        wrong.
    """
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    if not isinstance(raw, dict) or type(raw.get("format")) is not int:
        raise InputError(f"{where} is not a model's description: it has no whole number 'format'.")
    if raw["format"] > FORMAT:
        raise InputError(
            f"{where} has format {raw['format']}, newer than the {FORMAT} that this version reads. Update ase-mlwave."
        )
    if raw["format"] >= _FIRST_WITH_CHECKSUM:
        _refuse_changed(raw, where)
    while raw["format"] != FORMAT:
        if raw["format"] not in _UPGRADES:
            raise InputError(f"{where} has the unknown format {raw['format']}; this version reads {FORMAT}.")
        raw = _UPGRADES[raw["format"]](raw)
    try:
        refuse_odd_strings(raw, where, _LONGEST_STRING)
        config = ModelConfig(**raw)
    except (ValidationError, TypeError, ValueError) as error:
        raise InputError(f"{where} is not a valid description of a model: {error}") from error
    find_kind(config.kind, where)
    _refuse_odd_chemistry(config.settings, where)
    return config


def _refuse_odd_chemistry(settings: Mapping[str, Any], where: str) -> None:
    """Refuse settings without the entries that every kind of model has."""
    missing = [key for key in ("elements", "level") if key not in settings]
    if missing:
        raise InputError(f"{where} has no {' and no '.join(missing)} in its settings.")
    elements, level = settings["elements"], settings["level"]
    if not isinstance(elements, list) or not elements or any(one not in _SYMBOLS for one in elements):
        raise InputError(f"{where}: elements must be a list of chemical symbols, got {str(elements)[:LONGEST_NAME]!r}.")
    if not isinstance(level, str) or len(level) > LONGEST_NAME:
        raise InputError(f"{where}: level must be the name of a level of theory, got {str(level)[:LONGEST_NAME]!r}.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _refuse_changed(raw: dict[str, Any], where: str) -> None:
    """Take the checksum out of ``raw``; refuse content that is not what it was computed over."""
    if raw.pop("checksum", None) != checksum(raw):
        raise InputError(
            f"{where} was changed since the model was saved: its content does not fit its checksum. Copy the file "
            "again; to change a model on purpose, load it, change it and save it with ModelFolder."
        )
