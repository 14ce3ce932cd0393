"""Levels of theory that are a method, a basis and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from ase.calculators.calculator import InputError
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from ase_mlwave.errors import suggestion
from ase_mlwave.reference.levels.base import LevelOfTheory

__all__ = ["SettingsLevel"]


class SettingsLevel(BaseModel, LevelOfTheory):
    """A level whose string is ``method/basis key=value ...``.

    The fields without a default, in their order, are the method and the basis; all others are settings, and those that
    differ from their defaults are part of the name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    not_numbers: ClassVar[frozenset[str]] = frozenset()
    """Settings that say what is computed or allowed and do not decide the numbers: they are not part of the level."""

    _with_forces: bool = PrivateAttr(True)

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Make a level of the words of its string.

        Parameters
        ----------
        words : sequence of str
            ``method/basis``, then ``key=value``.

        Returns
        -------
        SettingsLevel

        Raises
        ------
        InputError
            If a setting is unknown, or a value is wrong.
        """
        required = [key for key, field in cls.model_fields.items() if field.is_required()]
        names = [key for key in cls.model_fields if key not in required]
        values: dict[str, Any] = dict(zip(required, words[0].split("/", 1), strict=True))
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals or key not in names:
                raise InputError(
                    f"{word!r} is no setting of a level of theory; write key=value. {suggestion(key, names)}"
                )
            values[key] = value
        try:
            return cls(**values)
        except ValidationError as error:
            faults = "; ".join(f"{fault['loc'][0]}={fault['input']!r}: {fault['msg']}" for fault in error.errors())
            raise InputError(f"the level {words[0]} has wrong settings: {faults}.") from error

    def __eq__(self, other: object) -> bool:
        """Compare what decides the numbers; a device does not."""
        return isinstance(other, type(self)) and other.settings() == self.settings()

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    @property
    def name(self) -> str:
        """``method/basis``, followed by the settings that differ from the defaults."""
        fields = type(self).model_fields
        method = "/".join(getattr(self, key) for key, field in fields.items() if field.is_required())
        changed = [
            f"{key}={str(getattr(self, key)).lower()}"
            for key, field in fields.items()
            if not field.is_required() and key not in self.not_numbers and getattr(self, key) != field.default
        ]
        return " ".join([method, *changed])

    def settings(self) -> dict[str, Any]:
        """Return the fields that decide the numbers, and the program."""
        return {"program": "pyscf", **self.model_dump(exclude=set(self.not_numbers))}
