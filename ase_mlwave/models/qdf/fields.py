"""The fields that a quantum deep field can have, and the classes behind each."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ase_mlwave.errors import suggestion

__all__ = ["FIELDS", "build_network", "parse_qdf_settings"]

#: Value of the setting ``field`` -> (class of the network, class of its settings), each "module:name".
FIELDS: dict[str, tuple[str, str]] = {
    "quadrature": ("ase_mlwave.models.qdf.model:QDF", "ase_mlwave.models.qdf.config:QDFConfig"),
    "published": (
        "ase_mlwave.models.qdf.published.network:PublishedQDF",
        "ase_mlwave.models.qdf.published.config:PublishedConfig",
    ),
}
#: The field of settings that name none.
_DEFAULT_FIELD = "quadrature"


def parse_qdf_settings(**settings: Any) -> Any:
    """Check the settings of a quantum deep field against the class that their ``field`` names.

    Parameters
    ----------
    **settings
        Those of the class; ``field`` chooses it.

    Returns
    -------
    pydantic model
        Of the second class of `FIELDS`.

    Raises
    ------
    ValueError
        If the field is unknown or a setting is wrong.
    """
    return _class(str(settings.get("field", _DEFAULT_FIELD)), 1)(**settings)


def build_network(config: Any) -> Any:
    """Build an untrained network, of the first class of `FIELDS`, from what `parse_qdf_settings` returned."""
    return _class(config.field, 0)(config)


def _class(field: str, which: int) -> Any:
    if field not in FIELDS:
        raise ValueError(f"field is {field!r}. {suggestion(field, FIELDS)}")
    module, name = FIELDS[field][which].split(":")
    return getattr(import_module(module), name)
