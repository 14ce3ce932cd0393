"""Organic molecules with density functional theory: PBE/def2-SVP energies at geometries relaxed with GFN2-xTB.

Query and amons are relaxed with the same cheap method and labelled with the expensive one, as quantum chemists do who
write PBE/def2-SVP//GFN2-xTB.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

from ase.calculators.calculator import CalculationFailed, SCFError
from rdkit import Chem

from ase_mlwave.amons.geometry import amon_geometries
from ase_mlwave.amons.perception import molecule_from
from ase_mlwave.data.record import Record
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.reference.levels import LevelOfTheory, PyscfLevel, TbliteLevel
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.molecules import choose
from benchmarks.amons.study import Query, Relaxing, distinct, free_atoms, label, learning_curves, need

__all__ = ["run"]

#: For the table.
NOTES = """
- A random choice: four of QM7, six of QM9's molecules with at most 14 atoms. Query and amons are relaxed with
  GFN2-xTB, amons as a whole, and labelled with PBE/def2-SVP.
- Two molecules make two thirds of the mean: a triazole fused to a four-membered ring, whose strain is gone in relaxed
  amons, and a sulfonamide, of which few amons are left (sulfur that loses three neighbours is dropped).
"""
#: Of each file: heavy atoms and how many.
_FROM_QM7, _FROM_QM9 = ((7,), 4), ((8, 9), 6)
_MAX_HEAVY, _CONFORMERS = 6, 2
#: The tighter default threshold changes energies by less than 1e-6 Hartree.
LEVEL = "pbe/def2-svp conv_tol=1e-8"


class Energies(LevelOfTheory):
    """Energies of a PySCF level, without forces: a third of the time."""

    def __init__(self, level: PyscfLevel) -> None:
        self.level = level

    @property
    def name(self) -> str:
        """That of the level."""
        return self.level.name

    def settings(self) -> dict[str, Any]:
        """Return those of the level."""
        return {**self.level.settings(), "forces": False}

    def load(self) -> None:
        """Import PySCF."""
        self.level.load()

    def label(self, molecule: Any) -> Record:
        """Run the SCF."""
        mole = build_mole(molecule.numbers, molecule.positions, self.level.basis, molecule.charge, molecule.spin)
        mean_field = self.level.mean_field(mole)
        mean_field.kernel()
        if not mean_field.converged:
            raise SCFError(f"the SCF of {molecule.formula} at {self.name} did not converge.")
        return replace(molecule, energy=float(mean_field.e_tot), forces=None, matrices={})


def run(options: Options) -> list[Curve]:
    """Learn each molecule from its own amons."""
    level = LevelOfTheory.parse(LEVEL)
    if not isinstance(level, PyscfLevel):
        raise CalculationFailed(f"{level.name} is no level of PySCF.")
    cheap, database = TbliteLevel("gfn2-xtb"), options.output / "pbe.db"
    molecules = _molecules(options)
    tight = Relaxing(cheap, largest_force=2e-4, steps=500)
    relaxed = label(molecules, options.output / "pbe-queries.db", tight, options, "relax molecules")
    queries = [query for query in relaxed if query is not None]
    cut = [amon_geometries(query, options.max_heavy or _MAX_HEAVY, seed=options.seed) for query in queries]
    loose = Relaxing(cheap)
    found = label(distinct(chain(*cut)), options.output / "pbe-amons.db", loose, options, "relax amons")
    amons = distinct((amon for amon in found if amon is not None), _CONFORMERS)
    exact = label([*queries, *amons], database, Energies(level), options, "label")
    labelled = [record for record in exact[len(queries) :] if record is not None]
    free = free_atoms([z for query in queries for z in query.numbers.tolist()], level)
    curves = []
    for query, own in zip(exact, cut, strict=False):
        if query is not None:
            names = {amon.info["smiles"] for amon in own}
            known = [record for record in labelled if record.info["smiles"] in names]
            curves += learning_curves([Query.of(query, _name(query))], known, level.name, free=free)
    return curves


def _name(query: Record) -> str:
    """Write a molecule as SMILES."""
    return str(Chem.MolToSmiles(Chem.RemoveHs(molecule_from(query).to_rdkit()), isomericSmiles=False))


def _molecules(options: Options) -> list[Record]:
    found = []
    for name, (sizes, count) in (("qm7", _FROM_QM7), ("qm9", _FROM_QM9)):
        found += choose(need(options, name), sizes, count, options.seed)
    return found[: options.n_systems]
