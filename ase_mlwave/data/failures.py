"""What a failed label's reason says: its kind, and in how many runs it failed."""

from __future__ import annotations

import re

__all__ = ["CONVERGENCE", "ENVIRONMENT", "INPUT", "describe", "kind_of_reason", "n_runs_of_reason", "without_kind"]

#: The molecule cannot be labelled at this level: final.
INPUT = "input"
#: The calculation did not converge, or the program failed for this molecule.
CONVERGENCE = "convergence"
#: The machine failed: memory, disk, connection, a library; never stored as final.
ENVIRONMENT = "environment"

_REASON = re.compile(r"(?P<kind>input|convergence|environment)(?: \((?P<runs>\d+) runs\))?: (?P<text>.*)", re.DOTALL)
#: How reasons of earlier versions begin, which have no kind.
_EARLIER = {
    "InputError": INPUT,
    "PropertyNotImplementedError": INPUT,
    "the worker process died": ENVIRONMENT,
    "MemoryError": ENVIRONMENT,
    "OSError": ENVIRONMENT,
}


def describe(kind: str, text: str, n_runs: int = 1) -> str:
    """Write a reason.

    Parameters
    ----------
    kind : str
        ``INPUT``, ``CONVERGENCE`` or ``ENVIRONMENT``.
    text : str
        What went wrong.
    n_runs : int
        In how many runs so far.

    Returns
    -------
    str
        Such as ``"convergence (2 runs): SCFError: ..."``.
    """
    return f"{kind}: {text}" if n_runs == 1 else f"{kind} ({n_runs} runs): {text}"


def kind_of_reason(reason: str) -> str:
    """Return the kind that a reason begins with; what earlier versions wrote is told by the class of the error."""
    match = _REASON.fullmatch(reason)
    if match:
        return match["kind"]
    return next((kind for begin, kind in _EARLIER.items() if reason.startswith(begin)), CONVERGENCE)


def n_runs_of_reason(reason: str) -> int:
    """Return in how many runs a label has failed; 0 where an earlier version, which had no rescue, wrote the reason."""
    match = _REASON.fullmatch(reason)
    return int(match["runs"] or 1) if match else 0


def without_kind(reason: str) -> str:
    """Return what went wrong, without the kind."""
    match = _REASON.fullmatch(reason)
    return match["text"] if match else reason
