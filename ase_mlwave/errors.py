"""What the package says when something is wrong: shared wording, and the classes that ASE lacks.

Errors are ASE's own: ``InputError`` for what is refused before any work, ``CalculationFailed`` and ``SCFError`` for
numerical failure, ``PropertyNotImplementedError`` for what a model lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from ase.calculators.calculator import CalculationFailed
from ase.data import atomic_numbers

from ase_mlwave.text import clean

__all__ = ["OutOfDomainError", "OutOfDomainWarning", "UnknownOptionError", "reading_fault", "suggestion"]

#: What stands in the place of an element's symbol, as ASE's readers look it up.
_SYMBOL = re.compile(r"[A-Z]\w{0,9}|\d{1,3}")


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


def reading_fault(error: Exception) -> str:
    """Say why ASE could not read a file.

    Parameters
    ----------
    error : Exception
        Whatever ASE's parser met: of a word that is no element a ``KeyError`` with nothing but the word.

    Returns
    -------
    str
        Kind and text of the error; of such a word (``"D"``, ``"H1"``) what to write instead.
    """
    word = str(error.args[0]) if isinstance(error, KeyError) and error.args else ""
    if _SYMBOL.fullmatch(word) and word not in atomic_numbers:
        return f"{word!r} is not the symbol of an element. Write the element's alone: H for D and H1, C for CA"
    return f"{type(error).__name__}: {clean(str(error))}"
