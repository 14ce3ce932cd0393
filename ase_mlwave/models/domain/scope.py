"""What a model was made for, and structures that are not that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_mlwave.systems.charge_spin import electrons_at_fault
from ase_mlwave.systems.checks import check_distances
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["Domain", "check_elements", "check_system"]

#: Larger coordinates leave a bond too few digits (Angstrom).
_MAX_COORDINATE = 1e6


@dataclass(frozen=True)
class Domain:
    """Say what a model was made for."""

    elements: frozenset[str]
    """Chemical symbols."""
    charges: frozenset[int] = frozenset({0})
    """Total charges."""
    spins: frozenset[int] = frozenset({0})
    """Numbers of unpaired electrons."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Entry of ``extras`` -> largest value without a warning."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Entry of ``extras`` -> largest value for which there are results at all."""
    periodic: bool = False
    """Whether cells are served."""

    def common(self, other: Domain) -> Domain:
        """Return what both serve; the smaller of two thresholds counts."""
        return Domain(
            self.elements & other.elements,
            self.charges & other.charges,
            self.spins & other.spins,
            _smaller(self.thresholds, other.thresholds),
            _smaller(self.limits, other.limits),
            self.periodic and other.periodic,
        )


def _smaller(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    infinity = float("inf")
    return {name: min(one.get(name, infinity), other.get(name, infinity)) for name in {*one, *other}}


def check_system(system: System, domain: Domain, contacts: NeighbourList | None = None) -> None:
    """Refuse a structure that is not what a model was made for.

    Parameters
    ----------
    system : System
        A molecule or a cell.
    domain : Domain
        What the model was made for.
    contacts : NeighbourList, optional
        As of `ase_mlwave.systems.checks.check_distances`.

    Raises
    ------
    InputError
        If it is far from the origin, has an element, charge or spin outside the domain, coinciding atoms, or a number
        of electrons that does not go with its spin (of cells, any number goes).
    """
    check_elements(system.numbers, domain)
    if np.abs(system.positions).max() * BOHR > _MAX_COORDINATE:
        raise InputError(f"positions must lie within {_MAX_COORDINATE:g} Angstrom of the origin. Move the structure.")
    check_distances(system, contacts=contacts)
    for name, value, allowed in (("charge", system.charge, domain.charges), ("spin", system.spin, domain.spins)):
        if value not in allowed:
            raise InputError(
                f"atoms.info[{name!r}] is {value}, but the model was made for {name} "
                f"{' or '.join(map(str, sorted(allowed)))}. Change atoms.info or take another model."
            )
    fault = "" if system.n_periods else electrons_at_fault(system.numbers, system.charge, system.spin)
    if fault:
        states = [(charge, spin) for charge in domain.charges for spin in domain.spins]
        if all(electrons_at_fault(system.numbers, *state) for state in states):  # whatever atoms.info says
            served = " or ".join(f"charge {charge} with {spin} unpaired" for charge, spin in sorted(states))
            fault = f"{fault.split('. ')[0]}, and the model was made for {served} alone. Take another model or method."
        raise InputError(fault)


def check_elements(numbers: NDArray[np.int64], domain: Domain) -> None:
    """Raise ``InputError`` if there are elements that the model does not know."""
    unknown = sorted({chemical_symbols[number] for number in np.unique(numbers)} - domain.elements)
    if unknown:
        known = sorted(domain.elements, key=chemical_symbols.index)
        raise InputError(
            f"the model does not know {', '.join(unknown)}: it was made for {', '.join(known)}. "
            "Take another model (`mlwave models` lists them) or train one."
        )
