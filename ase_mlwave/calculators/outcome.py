"""What a model computes for one system, its conversion to ASE's units, and the average over a committee."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.calculators.calculator import CalculationFailed

from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.units import BOHR, HARTREE, HARTREE_PER_BOHR

__all__ = ["TO_ASE", "Outcome", "average", "exceeded", "to_ase", "warn_out_of_domain"]

#: ASE property -> its atomic unit in ASE's unit. The only place where results are converted.
TO_ASE: dict[str, float] = {
    "energy": HARTREE,
    "energies": HARTREE,
    "forces": HARTREE_PER_BOHR,
    "stress": HARTREE / BOHR**3,
    "dipole": BOHR,
    "charges": 1.0,
}

_SHAPES: dict[str, tuple[int | str, ...]] = {
    "energy": (),
    "energies": ("N",),
    "forces": ("N", 3),
    "stress": (6,),
    "dipole": (3,),
    "charges": ("N",),
}


@dataclass(frozen=True)
class Outcome:
    """Hold what a model gives for one system."""

    values: Mapping[str, Any]
    """ASE property -> float or array; atomic units in a calculator's ``_compute``, ASE's units after `to_ase`."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Everything else, as ``calc.extras`` shows it."""


def to_ase(outcome: Outcome, n_atoms: int) -> Outcome:
    """Convert a system's values from atomic units to ASE's.

    Parameters
    ----------
    outcome : Outcome
        Values in Hartree, Bohr and elementary charges.
    n_atoms : int
        Number of atoms N.

    Returns
    -------
    Outcome
        Plain floats and float64 arrays in ASE's units, with ``free_energy`` equal to ``energy``; the same extras.

    Raises
    ------
    CalculationFailed
        If a value is not finite.
    """
    values: dict[str, Any] = {}
    for name, value in outcome.values.items():
        array = np.array(value, dtype=np.float64) * TO_ASE[name]
        shape = tuple(n_atoms if size == "N" else size for size in _SHAPES[name])
        if array.shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise CalculationFailed(
                f"the model gave a {name} that is not finite. The structure may be far outside what it was trained on."
            )
        values[name] = array if shape else float(array)
    if "energy" in values:
        values["free_energy"] = values["energy"]
    return Outcome(values, outcome.extras)


def average(members: Sequence[Outcome]) -> Outcome:
    """Average a committee's outcomes for one system.

    Parameters
    ----------
    members : sequence of Outcome
        One per model, in ASE's units.

    Returns
    -------
    Outcome
        Mean values. Extras: for a single model its own; for a committee ``energy_spread`` (eV, standard deviation over
        the members), ``forces_spread`` ((N,), eV/Angstrom, root of the summed variance of the three components) and
        ``members``, the list of their extras.
    """
    if len(members) == 1:
        return members[0]
    shared = set.intersection(*(set(member.values) for member in members))
    stacked = {name: np.stack([member.values[name] for member in members]) for name in shared}
    values = {name: stack.mean(axis=0) if stack.ndim > 1 else float(stack.mean()) for name, stack in stacked.items()}
    extras: dict[str, Any] = {"members": [dict(member.extras) for member in members]}
    if "energy" in stacked:
        extras["energy_spread"] = float(stacked["energy"].std(ddof=1))
    if "forces" in stacked:
        extras["forces_spread"] = np.sqrt(stacked["forces"].var(axis=0, ddof=1).sum(axis=1))
    return Outcome(values, extras)


def exceeded(extras: Mapping[str, Any], thresholds: Mapping[str, float]) -> dict[str, float]:
    """Find the measured uncertainties that lie past their calibrated thresholds.

    Parameters
    ----------
    extras : mapping
        ``calc.extras``; the largest element of an array counts, and of a committee every member.
    thresholds : mapping of str to float
        Entry of ``extras`` -> largest value inside the domain.

    Returns
    -------
    dict of str to float
        The thresholds that are passed; empty inside the domain.
    """
    parts = (extras, *extras.get("members", ()))
    return {
        name: limit
        for name, limit in thresholds.items()
        if any(name in part and np.max(part[name]) > limit for part in parts)
    }


def warn_out_of_domain(extras: Mapping[str, Any], thresholds: Mapping[str, float], advice: str = "") -> None:
    """Warn where a measured uncertainty lies past its calibrated threshold.

    Parameters
    ----------
    extras, thresholds : mapping
        As in `exceeded`.
    advice : str
        What else is to be said, beginning with a space.

    Notes
    -----
    The message has no measured value, so that Python shows it once in a trajectory, not once a step.
    """
    for name, limit in exceeded(extras, thresholds).items():
        warnings.warn(
            f"calc.extras[{name!r}] is above {limit:g}: the structure is unlike those that the model was trained "
            f"on, and its results may be wrong. Check it with a reference calculation.{advice}",
            OutOfDomainWarning,
            stacklevel=4,
        )
