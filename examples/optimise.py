"""Relax a water molecule with the model, at two of its levels, and print where PySCF would end."""

from __future__ import annotations

from ase.build import molecule
from ase.optimize import BFGS

from ase_mlwave import PhiSNetCalculator

for level in ("wavefunction", "functional"):
    atoms = molecule("H2O")
    atoms.positions[1] += [0.0, 0.1, 0.1]  # one bond too long
    atoms.calc = PhiSNetCalculator("phisnet-water", energy=level)
    optimiser = BFGS(atoms, logfile=None)
    optimiser.run(fmax=0.01)
    print(
        f"{level:12}  {optimiser.nsteps:2d} steps  O-H {atoms.get_distance(0, 1):.4f} A  "
        f"H-O-H {atoms.get_angle(1, 0, 2):.2f} deg  E {atoms.get_potential_energy():.5f} eV"
    )
print("PySCF itself, PBE/def2-SVP  O-H 0.9746 A  H-O-H 102.05 deg  E -2075.48512 eV")

# How unlike the training data the last geometry is; past the model's threshold comes an OutOfDomainWarning.
calc = atoms.calc
threshold = calc.members[0].config.thresholds["domain_distance"]
print(f"distance from the training data {calc.extras['domain_distance'].max():.2f}, threshold {threshold:.2f}")
