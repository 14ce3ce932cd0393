"""Draw infrared spectra of a water molecule by two models beside one another, from second derivatives."""

from __future__ import annotations

from ase.build import molecule
from ase.optimize import BFGS

from ase_mlwave import PhiSNetCalculator, plot_spectrum

lines = {}
for name, model in (("PBE/def2-SVP", "phisnet-water"), ("CCSD(T)/cc-pVDZ", "phisnet-water-ccsdt")):
    atoms = molecule("H2O")
    atoms.calc = PhiSNetCalculator(model)
    BFGS(atoms, logfile=None).run(fmax=0.001)
    infrared = atoms.calc.infrared(atoms)
    lines[name] = infrared.lines()
    print(f"{name:16s} {', '.join(f'{f:.0f}' for f in infrared.get_frequencies()[6:].real)} 1/cm")

axes = plot_spectrum(lines)
axes.figure.savefig("infrared.png", dpi=150)
print("infrared.png")
