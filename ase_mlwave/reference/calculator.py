"""A level of theory as an ASE calculator, to run optimisations and dynamics with the reference itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ase_mlwave.properties import LABELS
from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["ReferenceCalculator"]


class ReferenceCalculator(Calculator):
    """Compute energies, forces and, where the level has them, dipoles; each geometry from scratch.

    Parameters
    ----------
    level : str or LevelOfTheory
        Such as ``"pbe/def2-svp"``; a string is parsed. On a GPU: ``LevelOfTheory.parse("pbe/def2-svp").on("cuda")``.

    Raises
    ------
    InputError
        If the level is unknown or its program is not installed.
    """

    implemented_properties = ["energy", "free_energy", "forces", "dipole"]  # noqa: RUF012 (ASE declares an instance variable)

    def __init__(self, level: str | LevelOfTheory, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.level = LevelOfTheory.parse(level) if isinstance(level, str) else level

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Label the geometry; results are in ASE's units."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        label = self.level.label(atoms if atoms is not None else self.get_atoms())  # type: ignore[no-untyped-call]
        if label.energy is None or label.forces is None:
            raise RuntimeError(f"{self.level.name} gave no energy or forces")
        results = {name: LABELS[name].to_ase(value) for name, value in label.labels.items()}
        self.results = {**results, "free_energy": results["energy"]}
