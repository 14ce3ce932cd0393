"""One policy for all models: what is measured of a structure, when there is a warning, when an error.

Every model carries measures of how unlike its training data a structure is, entries of ``calc.extras`` with a value for
each atom or for the whole. Past a first threshold comes a warning, past a second, wider one (a limit) an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from ase_mlwave.calculators.checks import check_choice
from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
from ase_mlwave.models.domain.scope import Domain
from ase_mlwave.systems.system import System

__all__ = ["Verdict", "check_outside", "enforce", "exceeded", "judge"]

#: Values of the option ``outside``: what happens past a limit.
_OUTSIDE = ("error", "warn")
#: Atoms that a message names at most.
_NAMED = 5


@dataclass(frozen=True)
class Verdict:
    """Say which measures of a structure lie past which thresholds."""

    doubtful: Mapping[str, float]
    """Measures past the threshold of a warning, with that threshold."""
    refused: Mapping[str, float]
    """Measures past the limit of an error, with that limit."""
    atoms: tuple[int, ...] = ()
    """The atoms at fault, the worst first, where a measure is one of atoms."""

    @property
    def inside(self) -> bool:
        """Whether no threshold is passed."""
        return not self.doubtful and not self.refused


def check_outside(given: Any) -> None:
    """Raise ``InputError`` if ``given`` is no value of the option ``outside``."""
    check_choice("outside", given, _OUTSIDE)


def judge(extras: Mapping[str, Any], domain: Domain) -> Verdict:
    """Compare the measures of a structure with the thresholds of its model.

    Parameters
    ----------
    extras : mapping
        What ``calc.extras`` holds; of an array the largest element counts, of a committee every member.
    domain : Domain
        Thresholds and limits.

    Returns
    -------
    Verdict
    """
    doubtful, refused = exceeded(extras, domain.thresholds), exceeded(extras, domain.limits)
    return Verdict(doubtful, refused, _worst_atoms(extras, {**refused, **doubtful}))


def exceeded(extras: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, float]:
    """Find the measures that lie past their limits.

    Parameters
    ----------
    extras : mapping
        As in `judge`.
    limits : mapping of str to float
        Entry of ``extras`` -> largest value allowed.

    Returns
    -------
    dict of str to float
        The limits that are passed; a measure that is not a number passes them all.
    """
    return {
        name: limit
        for name, limit in limits.items()
        if any(not (np.asarray(part[name], dtype=np.float64) <= limit).all() for part in _parts(extras) if name in part)
    }


def enforce(verdict: Verdict, system: System, extras: Mapping[str, Any], *, outside: str, advice: str = "") -> None:
    """Warn past a threshold, and raise past a limit.

    Parameters
    ----------
    verdict : Verdict
        From `judge`.
    system : System
        The structure, for its atoms' symbols.
    extras : mapping
        The measures; those of an error are in its message, and all of them in its ``extras``.
    outside : str
        ``"error"``, or ``"warn"`` for a warning past a limit, too.
    advice : str
        What else is to be said, beginning with a space.

    Raises
    ------
    OutOfDomainError
        Past a limit, unless ``outside="warn"``.

    Notes
    -----
    A warning has no measured value in it, so that Python shows it once in a trajectory and not once a step.
    """
    if verdict.inside:
        return
    atoms = _named(verdict.atoms, system)
    if verdict.refused and outside == "error":
        measured = " and ".join(
            f"{name} is {_largest(extras, name):.3g}, the limit {limit:.3g}" for name, limit in verdict.refused.items()
        )
        error = OutOfDomainError(
            f"{system.formula} is unlike anything that the model was trained on{atoms}: {measured}. Its results would "
            f"be nonsense. Take another model, or train one on such structures; outside='warn' gives them all the "
            f"same.{advice}"
        )
        error.extras = dict(extras)
        raise error
    for name, limit in {**verdict.refused, **verdict.doubtful}.items():
        warnings.warn(
            f"calc.extras[{name!r}] is above {limit:g}: the structure is unlike those that the model was trained "
            f"on{atoms}, and its results may be wrong. Check it with a reference calculation.{advice}",
            OutOfDomainWarning,
            stacklevel=5,
        )


def _parts(extras: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return the extras of a calculator and of its committee's members."""
    return (extras, *extras.get("members", ()))


def _largest(extras: Mapping[str, Any], name: str) -> float:
    return float(max(np.max(part[name]) for part in _parts(extras) if name in part))


def _worst_atoms(extras: Mapping[str, Any], limits: Mapping[str, float]) -> tuple[int, ...]:
    """Order the atoms that lie past a limit by how far they do."""
    ratios: dict[int, float] = {}
    for name, limit in limits.items():
        for part in _parts(extras):
            values = np.asarray(part.get(name, ()), dtype=np.float64)
            if values.ndim == 1:
                for index in np.flatnonzero(~(values <= limit)).tolist():
                    ratio = values[index] / limit if limit else np.inf
                    ratios[index] = max(ratios.get(index, 0.0), float(np.nan_to_num(ratio, nan=np.inf)))
    return tuple(sorted(ratios, key=lambda index: (-ratios[index], index)))


def _named(atoms: Sequence[int], system: System) -> str:
    """Write the atoms at fault, in order of their numbers so that the text stays the same in a trajectory."""
    if not atoms:
        return ""
    shown = sorted(atoms[:_NAMED])
    names = ", ".join(f"{chemical_symbols[system.numbers[index]]}{index}" for index in shown)
    return f" (atoms {names}{', ...' if len(atoms) > _NAMED else ''})"
