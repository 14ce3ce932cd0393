"""Predict orbitals, gap, dipole and charges of a drug-like molecule, and compare with PySCF in a table and a picture.

Usage: ``python examples/drug_orbitals.py [MOLECULE [MODEL]]``, MOLECULE a SMILES or a file that ASE reads; by default
paracetamol and phisnet-chno. Nearly all of the time is PySCF's, for the comparison.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.data.colors import jmol_colors
from ase.io import read
from ase.units import Debye, Hartree
from matplotlib.figure import Figure
from pyscf import dft, gto
from rdkit import Chem
from rdkit.Chem import AllChem

from ase_mlwave import PhiSNetCalculator, plot_charges, plot_isosurface, plot_levels

given = sys.argv[1] if len(sys.argv) > 1 else "CC(=O)Nc1ccc(O)cc1"
model = sys.argv[2] if len(sys.argv) > 2 else "phisnet-chno"
if Path(given).is_file():
    atoms = read(given)
else:
    molecule = Chem.AddHs(Chem.MolFromSmiles(given))
    AllChem.EmbedMolecule(molecule, randomSeed=0)
    AllChem.MMFFOptimizeMolecule(molecule)  # a force field's geometry; any other will do
    atoms = Atoms([atom.GetSymbol() for atom in molecule.GetAtoms()], molecule.GetConformer().GetPositions())
formula = atoms.get_chemical_formula()

# What the model predicts: a matrix, and from it all the rest.
calc = PhiSNetCalculator(model, energy="functional")
start = time.process_time()
(outcome,) = calc.predict_outcomes([atoms], ["dipole", "charges"])
seconds = time.process_time() - start
predicted, energies = outcome.values, outcome.extras["orbital_energies"] * Hartree
n_occupied = int(atoms.numbers.sum()) // 2
homo, lumo = n_occupied - 1, n_occupied

# The same from PySCF.
start = time.process_time()
mol = gto.M(atom=[(atom.symbol, atom.position) for atom in atoms], basis="def2-svp", verbose=0)
mf = dft.RKS(mol, xc="pbe").density_fit()
mf.kernel()
reference_seconds = time.process_time() - start
reference = mf.mo_energy * Hartree
dipole = mf.dip_moment(unit="Debye", verbose=0)
charges = mf.mulliken_pop(verbose=0)[1]

print(f"{given}, {formula}, {mol.nao} basis functions, beside PBE/def2-SVP\n")
print(f"{'':36}{'model':>10}{'PySCF':>10}{'error':>10}")
rows = {
    "highest occupied orbital (eV)": (energies[homo], reference[homo]),
    "lowest empty orbital (eV)": (energies[lumo], reference[lumo]),
    "gap (eV)": (outcome.extras["gap"], reference[lumo] - reference[homo]),
    "dipole moment (D)": (np.linalg.norm(predicted["dipole"]) / Debye, np.linalg.norm(dipole)),
}
for name, (mine, other) in rows.items():
    print(f"{name:36}{mine:10.3f}{other:10.3f}{mine - other:+10.3f}")
errors = {
    "all occupied orbitals (eV)": energies[:n_occupied] - reference[:n_occupied],
    "dipole as a vector, components (D)": predicted["dipole"] / Debye - dipole,
    "Mulliken charges (e)": predicted["charges"] - charges,
}
for name, error in errors.items():
    print(f"{name:36}mean absolute error {np.abs(error).mean():.3f}, largest {np.abs(error).max():.3f}")
print(f"{'CPU time (s)':36}{seconds:10.2f}{reference_seconds:10.2f}")

# Cube files for a molecular viewer.
calc.write_density(atoms, "density.cube", spacing=0.15)
calc.write_orbital(atoms, "homo.cube", homo, spacing=0.15)
calc.write_orbital(atoms, "lumo.cube", lumo, spacing=0.15)

figure = Figure(figsize=(13, 6.6), layout="constrained")
panels = figure.subplot_mosaic(
    [["levels", "homo", "lumo"], ["levels", "charges", "parity"]], width_ratios=(1, 1.7, 1.7)
)
plot_levels({"model": energies, "PBE": reference}, n_occupied, axes=panels["levels"])
for name, index in (("homo", homo), ("lumo", lumo)):
    plot_isosurface(partial(calc.orbital, atoms, index), atoms, axes=panels[name])
    title = f"{name.upper()}   {energies[index]:.2f} eV (PBE {reference[index]:.2f})"
    panels[name].set_title(title.replace("-", "\N{MINUS SIGN}"))
plot_charges(predicted["charges"], atoms, axes=panels["charges"])
panels["charges"].set_title("Mulliken charges (e)")
ends = [min(charges) - 0.03, max(charges) + 0.03]
panels["parity"].plot(ends, ends, color="0.7", lw=1)
for number in sorted(set(atoms.numbers)):
    some, style = atoms.numbers == number, {"ms": 7, "mec": "0.3", "mfc": jmol_colors[number]}
    panels["parity"].plot(charges[some], predicted["charges"][some], "o", label=chemical_symbols[number], **style)
panels["parity"].set(xlabel="charge by PBE (e)", ylabel="charge by the model (e)")
panels["parity"].set_box_aspect(0.75)
panels["parity"].legend(frameon=False)
figure.suptitle(f"{formula}: {model} {seconds:.1f} CPU-s, PBE/def2-SVP {reference_seconds:.0f} CPU-s", fontsize=14)
figure.savefig("drug_orbitals.png", dpi=140)
print("\ndrug_orbitals.png, density.cube, homo.cube and lumo.cube written")
