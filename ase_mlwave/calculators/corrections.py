"""Calculators whose models may correct a base level of theory, such as GFN2-xTB, which is then added to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ase_mlwave.calculators.base import Member, MlwaveCalculator, Outcome
from ase_mlwave.data.record import Record
from ase_mlwave.reference.differences import base_labels, base_level
from ase_mlwave.systems.system import System

__all__ = ["CorrectingCalculator", "base_of"]

#: Properties that a base level has not, in general: terms of the energy, and what belongs to cells.
_OF_SUMS = frozenset({"energies", "stress"})


def base_of(member: Member) -> str | None:
    """Return the name of the level of theory that a model corrects; None for one that stands alone."""
    base: str | None = member.config.settings.get("base")
    return base


class CorrectingCalculator(MlwaveCalculator):
    """Add the energy and forces of a base level to those of models whose settings have a ``base``.

    Notes
    -----
    The base is computed once for a structure, however many members of a committee correct it, and serves molecules
    alone. What is not a sum of both, ``energies`` and ``stress``, is left out.
    """

    def _load(self, model: str, device: torch.device, dtype: torch.dtype) -> Member:
        """Load one model, and refuse it where its base level cannot be had."""
        member = super()._load(model, device, dtype)
        base = base_of(member)
        if base is not None:
            base_level(base)
        return member

    def _load_anew(self, parameters: Mapping[str, Any]) -> None:
        """Replace the models; those that correct a base level serve molecules alone."""
        super()._load_anew(parameters)
        corrects = any(base_of(member) is not None for member in self.members)
        self.domain = replace(self.domain, periodic=self.domain.periodic and not corrects)
        known = type(self).implemented_properties
        self.implemented_properties = [name for name in known if not (corrects and name in _OF_SUMS)]

    def _compute_members(self, systems: list[System], properties: tuple[str, ...]) -> list[list[Outcome]]:
        """Compute a batch with every member, and each base level once."""
        outcomes, bases = super()._compute_members(systems, properties), [base_of(member) for member in self.members]
        labels = {base: [base_labels(base, system) for system in systems] for base in set(bases) if base is not None}
        return [
            of_member if base is None else [_added(*pair) for pair in zip(of_member, labels[base], strict=True)]
            for of_member, base in zip(outcomes, bases, strict=True)
        ]


def _added(outcome: Outcome, base: Record) -> Outcome:
    """Add a base level to what a model that corrects it gives, in atomic units."""
    own = outcome.values
    return replace(
        outcome, values={name: own[name] + getattr(base, name) for name in ("energy", "forces") if name in own}
    )
