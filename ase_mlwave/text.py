"""Text from files: refused where it must be plain, cleaned where it is shown.

Names that a file gives (a level of theory, an element, a setting) are one line of printable characters. What is
printed is cleaned of everything that a terminal would obey: escape sequences, carriage returns, marks that turn the
direction of writing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator

__all__ = ["LONGEST_NAME", "PlainText", "clean", "plain", "refuse_odd_strings"]

#: Characters of the longest name of anything.
LONGEST_NAME = 200


def plain(text: str, what: str = "text", longest: int = LONGEST_NAME) -> str:
    """Return a text that is one line of printable characters.

    Parameters
    ----------
    text : str
        From a file or a user.
    what : str
        What it is, for the message.
    longest : int
        Number of characters allowed.

    Returns
    -------
    str
        The same.

    Raises
    ------
    ValueError
        If it is longer, or has line ends, control characters, or invisible ones.
    """
    if len(text) > longest:
        raise ValueError(f"{what} has {len(text)} characters, allowed are {longest}: it begins with {text[:40]!r}")
    if not text.isprintable():
        raise ValueError(f"{what} must be one line of printable characters, got {text!r}")
    return text


#: A string of a settings class that is one line of printable characters.
PlainText = Annotated[str, AfterValidator(plain)]


def clean(text: str) -> str:
    """Write characters that a terminal would obey, or that cannot be seen, as their codes.

    Parameters
    ----------
    text : str
        One line or many.

    Returns
    -------
    str
        Printable but for line ends and tabulators.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def refuse_odd_strings(content: Any, where: str, longest: int) -> None:
    """Refuse what was read from JSON or YAML if a string in it, names included, is not `plain`.

    Parameters
    ----------
    content : dict, list, str, number or None
        As parsed.
    where : str
        Name of the file, for messages.
    longest : int
        Number of characters allowed in a string.

    Raises
    ------
    ValueError
        See `plain`.
    """
    waiting = [content]
    while waiting:  # no recursion: files can be nested deeply
        one = waiting.pop()
        if isinstance(one, str):
            plain(one, f"a string in {where}", longest)
        elif isinstance(one, dict):
            waiting.extend(_flat(one.items()))
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)


def _flat(pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
    return [one for pair in pairs for one in pair]
