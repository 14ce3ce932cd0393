"""What the package says when something is wrong: shared wording, and the classes that ASE lacks.

Errors are ASE's own: ``InputError`` for what is refused before any work, ``CalculationFailed`` and ``SCFError`` for
numerical failure, ``PropertyNotImplementedError`` for what a model lacks.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from ase.calculators.calculator import CalculationFailed

__all__ = ["OutOfDomainError", "OutOfDomainWarning", "UnknownOptionError", "suggestion"]


class OutOfDomainWarning(UserWarning):
    """A measured uncertainty lies past the first threshold of the model: its results may be wrong."""


class OutOfDomainError(CalculationFailed):
    """A measured uncertainty lies past the second threshold of the model: its results would be nonsense."""

    extras: dict[str, Any]
    """What ``calc.extras`` would hold; empty where it is not known."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.extras = {}


class UnknownOptionError(TypeError):
    """A keyword is not an option of the calculator."""


def suggestion(given: str, known: Iterable[str]) -> str:
    """Name the nearest known word and list all of them.

    Parameters
    ----------
    given : str
        What the user wrote.
    known : iterable of str
        What is allowed.

    Returns
    -------
    str
        The end of a message: ``"Did you mean 'x'? Known are: 'x', 'y'."``; without the question where nothing is near.
    """
    words = sorted(known)
    if not words:
        return "There is none."
    near = get_close_matches(given.lower(), words, n=1, cutoff=0.5)
    question = f"Did you mean {near[0]!r}? " if near else ""
    return f"{question}Known are: {', '.join(map(repr, words))}."
