"""Predict phenylacetaldehyde from its amons of growing size: the method's own test of convergence, with a picture."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ase import Atoms, units
from ase.optimize import BFGS
from matplotlib.figure import Figure
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from ase_mlwave import AmonsCalculator, ReferenceCalculator

KCAL = units.kcal / units.mol

# The query, relaxed with the reference: GFN2-xTB, which is fast enough to know the answer.
drawn = Chem.AddHs(Chem.MolFromSmiles("O=CCc1ccccc1"))
rdDistGeom.EmbedMolecule(drawn, randomSeed=1)
query = Atoms([atom.GetSymbol() for atom in drawn.GetAtoms()], drawn.GetConformer().GetPositions())
query.calc = ReferenceCalculator("gfn2-xtb")
BFGS(query, logfile=None).run(fmax=0.05)
exact = query.get_potential_energy()

# Its amons with up to 7 heavy atoms: found, labelled and learned. displaced=0 learns energies alone.
with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as threads:
    options = {"reference": "gfn2-xtb", "max_heavy": 7, "displaced": 0, "executor": threads}
    calc = AmonsCalculator.for_query(query, database=Path(folder, "amons.db"), **options)
    curve = calc.learning_curve()
    print(", ".join(calc.extras["amons"]))

print("heavy atoms  amons     error  claimed (kcal/mol)")
for point in curve:
    error = (point.energy - exact) / KCAL
    print(f"{point.max_heavy:11d}  {point.n_amons:5d}  {error:8.2f}  +- {point.uncertainty / KCAL:.2f}")

sizes = [point.max_heavy for point in curve]
errors = [(point.energy - exact) / KCAL for point in curve]
figure = Figure(figsize=(5, 3.5), layout="constrained")
axes = figure.subplots()
axes.axhspan(-1, 1, color="0.9", label="1 kcal/mol")
axes.errorbar(sizes, errors, [point.uncertainty / KCAL for point in curve], fmt="o-", capsize=3, label="amons")
axes.set(xlabel="heavy atoms of the largest amons", ylabel="error of the energy (kcal/mol)", xticks=sizes)
axes.set_yscale("symlog", linthresh=1)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="lower left")
figure.savefig("learning_curve.png", dpi=150)
print("learning_curve.png")
