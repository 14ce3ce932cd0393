"""References of benchmarks: molecules relaxed and labelled with a level of theory, in databases that are resumed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.constraints import FixAtoms
from ase.optimize import BFGS

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.perception import bonded_pairs
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.modes import hessian
from ase_mlwave.reference.sampling import level_calculator
from ase_mlwave.units import BOHR, HARTREE_PER_BOHR
from benchmarks.common import bar

#: Smallest curvature that an optimiser starts with, eV/Angstrom^2.
_SOFTEST = 3.0


class Relaxing(LevelOfTheory):
    """Relax a molecule until no force (Hartree/Bohr) is larger than ``largest_force``, then label it.

    What does not converge is labelled as it is, a molecule whose bonds change has failed, and ``info["caps"]`` lists
    the atoms that move. If ``tight``, what does not converge has failed, bonds may change, and relaxations start with
    the Hessian of GFN2-xTB where tblite is installed: half the steps, same minimum
    (``test_a_hessian_to_start_with_leads_to_the_same_minimum_in_fewer_steps``).
    """

    def __init__(
        self, level: LevelOfTheory, *, largest_force: float = 2e-3, steps: int = 100, tight: bool = False
    ) -> None:
        self.level, self.largest_force, self.steps, self.tight = level, largest_force, steps, tight
        self.hurry = tight and find_spec("tblite") is not None

    @property
    def name(self) -> str:
        """As quantum chemists write it."""
        return self.level.name if self.tight else f"{self.level.name}//{self.level.name}"

    def settings(self) -> dict[str, Any]:
        """Return what decides the numbers."""
        own = self.level.settings()
        if self.tight:
            return own
        return {"labels": own, "relaxation": own | {"largest_force": self.largest_force, "steps": self.steps}}

    def load(self) -> None:
        """Load the program."""
        self.level.load()

    def label(self, molecule: Any) -> Record:
        """Relax, and label the relaxed geometry; ``info`` tells the number of steps."""
        atoms = atoms_from_record(molecule)
        bonds = None if self.tight else bonded_pairs(atoms)[0]
        if "caps" in molecule.info:
            atoms.set_constraint(FixAtoms(sorted({*range(len(atoms))} - {*molecule.info["caps"]})))
        atoms.calc = ReferenceCalculator(self.level) if self.tight else level_calculator(self.level, molecule)
        optimiser = BFGS(atoms, logfile=None)
        if self.hurry:
            optimiser.H0 = first_hessian(atoms)
        converged = optimiser.run(fmax=self.largest_force * HARTREE_PER_BOHR, steps=self.steps)
        if self.tight and not converged:
            raise CalculationFailed(f"no minimum of {molecule.formula} within {self.steps} steps")
        if bonds is not None and bonded_pairs(atoms)[0] != bonds:
            raise CalculationFailed(f"{molecule.formula} became another molecule when it was relaxed.")
        found = self.level.label(replace(molecule, positions=atoms.positions / BOHR))
        return replace(found, matrices={}).with_info(steps=int(optimiser.nsteps))


def first_hessian(atoms: Atoms) -> Any:
    """Give an optimiser the Hessian of GFN2-xTB to start with, soft modes stiffer than they are, eV/Angstrom^2."""
    fast = atoms.copy()
    fast.calc = ReferenceCalculator("gfn2-xtb")
    values, vectors = np.linalg.eigh(hessian(fast))
    return (vectors * np.maximum(np.abs(values), _SOFTEST)) @ vectors.T


def label(
    records: Sequence[Record], path: Path, level: LevelOfTheory, n_workers: int = 1, *, matrices: bool = False
) -> list[Record | None]:
    """Label molecules, or read what the database has of them already.

    In the order given, without matrices unless asked for, with ``info`` as given and of the label; None where labelling
    failed. One worker is a thread of this process.
    """
    named = [record.with_info(asked=f"sha256:{record.geometry_hash()}") for record in records]
    with bar() as progress, ThreadPoolExecutor(1) if n_workers == 1 else nullcontext() as executor:
        task = progress.add_task(path.stem, total=None)
        file = label_geometries(
            named,
            path,
            level,
            executor=executor,
            n_workers=n_workers,
            progress=lambda state: progress.update(task, completed=state.n_done, total=state.n_to_do),
        )
    found = {str(record.info.get("asked")): record for record in file.read()}
    labelled = [found.get(str(record.info["asked"])) for record in named]
    return [
        None
        if one is None
        else replace(one, matrices=one.matrices if matrices else {}, info={**one.info, **record.info})
        for record, one in zip(records, labelled, strict=True)
    ]
