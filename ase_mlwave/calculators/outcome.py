"""What a model computes for one system, its conversion to ASE's units, and the average over a committee."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase.calculators.calculator import CalculationFailed

from ase_mlwave.calculators.domain import Verdict
from ase_mlwave.properties import EXTRAS, RESULTS

__all__ = ["Outcome", "average", "to_ase"]


@dataclass(frozen=True)
class Outcome:
    """Hold what a model gives for one system."""

    values: Mapping[str, Any]
    """ASE property -> float or array; atomic units in a calculator's ``_compute``, ASE's units after `to_ase`."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Everything else, as `ase_mlwave.properties.EXTRAS` describes it; units as of ``values``."""
    verdict: Verdict | None = None
    """Whether the structure is like the training data; None until that was judged."""

    def with_extras(self, keep: Callable[[str], bool]) -> Outcome:
        """Return a copy with those extras, also of the members of a committee, whose names are to be kept."""
        extras = {name: value for name, value in self.extras.items() if keep(name)}
        if "members" in extras:
            extras["members"] = [{n: v for n, v in each.items() if keep(n)} for each in extras["members"]]
        return replace(self, extras=extras)


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
        Plain floats and float64 arrays in ASE's units, with ``free_energy`` equal to ``energy``; extras in the units
        that the table says, and those that it does not list as they are.

    Raises
    ------
    CalculationFailed
        If a value is not finite.
    """
    values: dict[str, Any] = {}
    for name, value in outcome.values.items():
        array = RESULTS[name].to_ase(np.array(value, dtype=np.float64))
        shape = RESULTS[name].sizes(n_atoms)
        if array.shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise CalculationFailed(
                f"the model gave a {name} that is not finite. The structure may be far outside what it was trained on."
            )
        values[name] = array if shape else float(array)
    if "energy" in values:
        values["free_energy"] = values["energy"]
    extras = {name: EXTRAS[name].to_ase(value) if name in EXTRAS else value for name, value in outcome.extras.items()}
    return Outcome(values, extras)


def average(members: Sequence[Outcome], measures: Container[str] = ()) -> Outcome:
    """Average a committee's outcomes for one system.

    Parameters
    ----------
    members : sequence of Outcome
        One per model, in ASE's units.
    measures : container of str
        Extras that measure how unlike the training data the system is: the largest of all members counts.

    Returns
    -------
    Outcome
        Mean values. Extras: for a single model its own; for a committee they have the same names, shapes and units
        (numbers and arrays are means), and besides ``energy_spread`` (eV, standard deviation over the members),
        ``forces_spread`` ((N,), eV/Angstrom, root of the summed variance of the three components) and ``members``, the
        list of the members' own.
    """
    if len(members) == 1:
        return members[0]
    shared = set.intersection(*(set(member.values) for member in members))
    stacked = {name: np.stack([member.values[name] for member in members]) for name in shared}
    values = {name: stack.mean(axis=0) if stack.ndim > 1 else float(stack.mean()) for name, stack in stacked.items()}
    own = [member.extras for member in members]
    names = [name for name in own[0] if all(name in extras for extras in own)]
    extras: dict[str, Any] = {name: _combined([each[name] for each in own], largest=name in measures) for name in names}
    extras["members"] = [dict(each) for each in own]
    if "energy" in stacked:
        extras["energy_spread"] = float(stacked["energy"].std(ddof=1))
    if "forces" in stacked:
        extras["forces_spread"] = np.sqrt(stacked["forces"].var(axis=0, ddof=1).sum(axis=1))
    return Outcome(values, extras)


def _combined(values: Sequence[Any], *, largest: bool) -> Any:
    """Combine one entry of all members' extras: numbers by their mean or maximum; of anything else the first."""
    if not all(isinstance(value, (int, float, np.ndarray)) and not isinstance(value, bool) for value in values):
        return values[0]
    if len({np.shape(value) for value in values}) > 1 or all(isinstance(value, int) for value in values):
        return values[0]
    stack = np.stack([np.asarray(value, dtype=np.float64) for value in values])
    combined = stack.max(axis=0) if largest else stack.mean(axis=0)
    return combined if combined.ndim else float(combined)
