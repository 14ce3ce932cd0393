"""Minima of molecules that no model was trained on, at the reference's level of theory: computed once, kept in a file.

The file is a dataset of the package (``read_dataset`` reads it, ``ase gui`` shows it): relaxed geometries with energy
and forces. Each remembers the geometry that it started from, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from ase.optimize import BFGS
from scipy.spatial.distance import pdist

from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.data.splits import formula_split
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.locking import sole_writer
from ase_mlwave.reference.modes import hessian
from ase_mlwave.units import BOHR

__all__ = ["Minima", "held_out", "relax_reference"]

#: Forces of a reference's minimum, eV/Angstrom, and the steps that it may take.
FMAX, STEPS = 0.01, 100
#: Geometries of one formula whose sorted distances all agree within this are the same molecule, Angstrom.
_SAME = 0.1
#: Smallest curvature that the reference's optimiser starts with, eV/Angstrom^2.
_SOFTEST = 3.0


def held_out(
    files: Sequence[Path], *, count: int, split: str = "test", elements: str = "HCNO", max_heavy: int = 6
) -> list[Record]:
    """Choose molecules near their equilibrium that the rule of `formula_split` holds out.

    Parameters
    ----------
    files : sequence of Path
        Datasets in any format that the package reads; of those with temperatures only the geometries at 0 K count.
        The first file comes first, then the second; smaller molecules before larger ones.
    count : int
        Largest number of molecules.
    split : str
        ``"test"`` or ``"valid"``.
    elements : str
        Chemical symbols that a molecule may have, as a formula.
    max_heavy : int
        Largest number of atoms other than hydrogen.

    Returns
    -------
    list of Record
        Different molecules, with ``info["source"]``.
    """
    allowed = set(Atoms(elements).numbers)
    chosen: list[Record] = []
    for file in files:
        for record in sorted(read_dataset(file), key=len):
            fits = set(record.numbers) <= allowed and np.count_nonzero(record.numbers > 1) <= max_heavy
            if (
                fits
                and len(record) > 1
                and record.info.get("temperature", 0) == 0
                and formula_split(record) == split
                and not any(_same(record, other) for other in chosen)
            ):
                chosen.append(record.with_info(source=Path(file).name, split=split))
    return chosen[:count]


def relax_reference(start: Atoms, level: LevelOfTheory, hurry: bool = True) -> tuple[Atoms, int]:
    """Relax a molecule at a level of theory.

    Parameters
    ----------
    start : Atoms
        Near a minimum; not changed.
    level : LevelOfTheory
        Of the minimum.
    hurry : bool
        Whether to start with the Hessian of GFN2-xTB, where tblite is installed: half the steps, same minimum.

    Returns
    -------
    Atoms
        The minimum with energy and forces.
    int
        Optimisation steps.

    Raises
    ------
    CalculationFailed
        If it did not converge, or an energy did not.
    """
    atoms = start.copy()
    atoms.calc = ReferenceCalculator(level)
    optimiser = BFGS(atoms, logfile=None)
    if hurry and find_spec("tblite") is not None:
        fast = start.copy()
        fast.calc = ReferenceCalculator("gfn2-xtb")
        values, vectors = np.linalg.eigh(hessian(fast))
        optimiser.H0 = (vectors * np.maximum(np.abs(values), _SOFTEST)) @ vectors.T
    if not optimiser.run(fmax=FMAX, steps=STEPS):
        raise CalculationFailed(f"no minimum within {STEPS} steps")
    return atoms, int(optimiser.nsteps)


class Minima:
    """Fill and read the file of minima.

    Parameters
    ----------
    path : Path
        ``.db`` file; made where there is none.
    level : str, optional
        Level of theory; that of the file by default.

    Raises
    ------
    InputError
        If there is neither a file nor a level, or the file is of another level.
    """

    def __init__(self, path: Path, level: str | None = None) -> None:
        if not path.exists() and level is None:
            raise InputError(f"there is no file {path}. Compute the minima first with the subcommand 'references'.")
        self.path = path
        if path.exists():
            self.file = DatasetFile(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = DatasetFile.create(path, LevelOfTheory.parse(str(level)).name)
        self.level = LevelOfTheory.parse(self.file.level)
        if level is not None and LevelOfTheory.parse(level).name != self.level.name:
            raise InputError(f"{path} holds minima of {self.level.name!r}, not {level!r}. Give another file.")

    def read(self) -> list[Atoms]:
        """Return the minima in the order in which they were found."""
        return [atoms_from_record(record) for record in self.file.read()]

    def fill(
        self, starts: Sequence[Record], relax: Callable[[Atoms, LevelOfTheory], tuple[Atoms, int]] = relax_reference
    ) -> Iterator[str]:
        """Relax those that are not in the file yet, one at a time, each stored when it is done.

        Parameters
        ----------
        starts : sequence of Record
            From `held_out`.
        relax : callable
            As `relax_reference`.

        Yields
        ------
        str
            What came of each molecule, in words; nothing is stored of one that failed.
        """
        with sole_writer(self.path):
            there = {record.info.get("start") for record in self.file.read()}
            for start in starts:
                key = start.geometry_hash()
                if key in there:
                    yield f"{start.formula}: in the file"
                    continue
                try:
                    atoms, steps = relax(atoms_from_record(start), self.level)
                except CalculationFailed as error:
                    yield f"{start.formula}: failed: {error}"
                    continue
                self.file.add([record_from_atoms(atoms, start=key, steps=steps)])
                yield f"{start.formula}: {steps} steps, {atoms.get_potential_energy():.4f} eV"


def _same(one: Record, other: Record) -> bool:
    """Say whether two records are the same molecule in nearly the same geometry."""
    if one.formula != other.formula:
        return False
    difference = np.sort(pdist(one.positions)) - np.sort(pdist(other.positions))
    return bool(np.abs(difference).max() * BOHR < _SAME)
