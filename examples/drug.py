"""Relax paracetamol with forces that were learned from its amons, and compare with the reference's own minimum."""

from __future__ import annotations

import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import minimize_rotation_and_translation
from ase.optimize import BFGS
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from ase_mlwave import AmonsCalculator, OutOfDomainWarning, ReferenceCalculator

KCAL = units.kcal / units.mol

drawn = Chem.AddHs(Chem.MolFromSmiles("CC(=O)Nc1ccc(O)cc1"))
rdDistGeom.EmbedMolecule(drawn, randomSeed=1)
rdForceFieldHelpers.MMFFOptimizeMolecule(drawn)
start = Atoms([atom.GetSymbol() for atom in drawn.GetAtoms()], drawn.GetConformer().GetPositions())


def relaxed(calc: object) -> tuple[Atoms, int]:
    """Return the minimum and the number of steps to it."""
    atoms = start.copy()
    atoms.calc = calc
    optimiser = BFGS(atoms, logfile=None)
    optimiser.run(fmax=0.05, steps=200)
    return atoms, optimiser.nsteps


# Its amons, each with some displaced copies, labelled with GFN2-xTB: fast, so that the answer can be known.
with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as threads:
    begin = time.perf_counter()
    options = {"reference": "gfn2-xtb", "max_heavy": 6, "displaced": 4, "executor": threads}
    calc = AmonsCalculator.for_query(start, database=Path(folder, "amons.db"), **options)
    print(f"{len(calc.extras['amons'])} amons, {calc.study.n_new} labels, {time.perf_counter() - begin:.0f} s")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)  # calc.extras tells below
        mine, steps = relaxed(calc)
    print(f"relaxed in {steps} steps")

reference, _ = relaxed(ReferenceCalculator("gfn2-xtb"))
there = mine.copy()
there.calc = reference.calc
error = (mine.get_potential_energy() - there.get_potential_energy()) / KCAL
print(f"error of the energy {error:.2f} kcal/mol, claimed +- {calc.extras['energy_uncertainty'] / KCAL:.2f}")
for name, some in (("all atoms", slice(None)), ("heavy atoms", reference.numbers > 1)):
    moved, fixed = mine[some], reference[some]
    minimize_rotation_and_translation(fixed, moved)
    distance = np.sqrt(((moved.positions - fixed.positions) ** 2).sum(axis=1).mean())
    print(f"distance from the reference's minimum {distance:.3f} A, {name}")
