"""The batched path: checked systems in, outcomes in ASE's units out, over all models of a committee."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from ase.calculators.calculator import CalculationFailed, Calculator

from ase_mlwave.calculators.domain import enforce, judge
from ase_mlwave.calculators.members import Member
from ase_mlwave.calculators.outcome import Outcome, average, to_ase
from ase_mlwave.errors import OutOfDomainError
from ase_mlwave.models.domain.scope import Domain
from ase_mlwave.models.memory import Batches
from ase_mlwave.properties import MATRICES
from ase_mlwave.systems.system import System

__all__ = ["BatchedModels"]

S = TypeVar("S", bound=System)
T = TypeVar("T")


class BatchedModels(Calculator):
    """Compute structures with all models of a committee, in batches that fit the memory, and judge their domain.

    A calculator writes ``_compute``, in atomic units; what it knows of memory, committees and advice it may override.
    """

    members: tuple[Member, ...]
    """The loaded models: one, or those of the committee."""
    domain: Domain
    """What all members were made for."""
    batches: Batches
    """Divides what `predict` is given by the device's memory."""

    @abstractmethod
    def _compute(self, member: Member, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        """Compute a batch with one model.

        Parameters
        ----------
        member : Member
            One of ``members``.
        systems : list of System, (B,)
            Checked structures, in Bohr.
        properties : tuple of str
            What is asked for, names of ``implemented_properties`` without ``free_energy``, and of ``deferred`` extras.

        Returns
        -------
        list of Outcome, (B,)
            In atomic units; more properties than asked for where they cost nothing.
        """

    def _advise(self, system: System, outcome: Outcome) -> tuple[Outcome, str]:
        """Add to the extras of a structure outside the domain, and to its warning (text that begins with a space)."""
        return outcome, ""

    def _evaluate(
        self,
        systems: list[System],
        properties: tuple[str, ...],
        batch_size: int | None = None,
        progress: Callable[[int], None] | None = None,
        outside: str | None = None,
        *,
        keep: Callable[[str], bool],
        collect: Callable[[Outcome], None] | None = None,
    ) -> list[Outcome]:
        """Compute checked systems in batches, average the members, convert to ASE's units, and judge the domain.

        Extras of other names than those to ``keep`` are dropped batch by batch, and matrices before they are averaged.
        """
        outcomes: list[Outcome] = []
        matrices = any(map(keep, MATRICES))

        def by_member(batch: list[System]) -> list[list[Outcome]]:
            return self._compute_members(batch, properties)

        for batch, results in self.in_batches(by_member, systems, properties, batch_size):
            for system, members in zip(batch, zip(*results, strict=True), strict=True):
                converted = [to_ase(member, len(system)) for member in members]
                if not matrices:
                    converted = [each.with_extras(lambda name: name not in MATRICES) for each in converted]
                try:
                    outcome = self._judged(system, self._combine(system, converted), outside)
                    outcomes.append(outcome.with_extras(keep))
                except OutOfDomainError as error:
                    if len(systems) > 1:
                        error.args = (f"structure {len(outcomes)}: {error}",)
                    raise
            if collect is not None:
                for outcome in outcomes[-len(batch) :]:
                    collect(outcome)
            if progress is not None:
                progress(len(batch))
        return outcomes

    def in_batches(
        self,
        work: Callable[[list[S]], T],
        systems: Sequence[S],
        properties: Sequence[str],
        batch_size: int | None = None,
    ) -> Iterator[tuple[list[S], T]]:
        """Compute something of many structures, in batches of a size, that of the options, or what fits the memory.

        Parameters
        ----------
        work : callable
            Computes a batch with the calculator's models.
        systems : sequence of System
            Checked structures.
        properties : sequence of str
            What it computes takes as much memory as these.
        batch_size : int, optional
            As in `predict`.

        Yields
        ------
        (list of System, result)
            See `ase_mlwave.models.memory.Batches.compute`, also for what is raised.
        """
        size = batch_size or self.parameters["batch_size"]
        gradients = bool({"forces", "stress"} & set(properties))
        return self.batches.compute(work, systems, lambda system: self._bytes_of(system, gradients), size)

    def _bytes_of(self, system: System, gradients: bool) -> float:
        """Estimate the memory of a structure in a batch, with or without gradients, for a network of pairs of atoms."""
        return (2.5e6 if gradients else 4e5) * len(system) ** 2

    def _combine(self, system: System, members: list[Outcome]) -> Outcome:
        """Make one outcome of those of a committee, in ASE's units."""
        return average(members, {*self.domain.thresholds, *self.domain.limits})

    def _judged(self, system: System, outcome: Outcome, outside: str | None = None) -> Outcome:
        """Warn or raise where a structure is outside the domain, and note the verdict."""
        verdict = judge(outcome.extras, self.domain)
        advice = ""
        if not verdict.inside:
            outcome, advice = self._advise(system, outcome)
        policy = self.parameters["outside"] if outside is None else outside
        enforce(verdict, system, outcome.extras, outside=policy, advice=advice)
        return replace(outcome, verdict=verdict)

    def _compute_members(self, systems: list[System], properties: tuple[str, ...]) -> list[list[Outcome]]:
        """Compute a batch with every member, in atomic units."""
        return [self._compute_checked(member, systems, properties) for member in self.members]

    def _compute_checked(self, member: Member, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        """Compute a batch; failures of linear algebra are `CalculationFailed`."""
        try:
            return self._compute(member, systems, properties)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise CalculationFailed(f"the linear algebra of the model failed: {error}") from error
