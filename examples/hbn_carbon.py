"""Put two carbon atoms into a sheet of boron nitride, and learn the energy of the sheet from its amons."""

from __future__ import annotations

import warnings

import numpy as np
from ase.build import graphene

from ase_mlwave import AmonsCalculator, OutOfDomainWarning, find_amons

sheet = graphene("BN", a=2.504, size=(4, 4, 1), vacuum=8.0)
sheet.pbc = (True, True, False)
boron = 10
nitrogen = int(np.argsort(sheet.get_distances(boron, range(len(sheet)), mic=True))[1])
sheet.symbols[[boron, nitrogen]] = "C"  # a pair in place of B-N: all electrons stay paired
print(f"{sheet.symbols.formula.format('hill')}, carbon at {boron} and {nitrogen}")

for amon in find_amons(sheet, max_heavy=3):
    if "C" in amon.smiles.upper():
        print(f"  {amon.smiles:10s} {amon.count:3d} places")

# displaced=0 learns energies alone, in seconds; the curve over the size of the amons shows what they are worth.
calc = AmonsCalculator.for_query(sheet, reference="gfn2-xtb", max_heavy=5, database="sheet.db", displaced=0)
print("heavy atoms  amons  energy of an atom (eV)")
for point in calc.learning_curve():
    print(f"{point.max_heavy:11d}  {point.n_amons:5d}  {point.energy / len(sheet):.3f}")

sheet.calc = calc
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", OutOfDomainWarning)
    sheet.get_potential_energy()
print(f"claimed standard deviation: {calc.extras['energy_uncertainty']:.2f} eV for the whole sheet")
for warning in caught:  # docs/amons.md follows this curve to larger fragments, which close the rings of the sheet
    print(f"warning: {warning.message}")
novelty = calc.extras["novelty"]
for name, atoms in (("carbon", sheet.numbers == 6), ("boron and nitrogen", sheet.numbers != 6)):
    print(f"distance from what was learned: {novelty[atoms].mean():.2f}, {name}")
