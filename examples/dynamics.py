"""Run a water molecule at constant energy, write a trajectory, and print how well the energy is conserved."""

from __future__ import annotations

import numpy as np
from ase import units
from ase.build import molecule
from ase.io import Trajectory, read
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from ase_mlwave import PhiSNetCalculator

atoms = molecule("H2O")
atoms.calc = PhiSNetCalculator("phisnet-water")
thermalize_momenta(atoms, temperature_K=600, rng=np.random.default_rng(1))  # ASE 3.29's name for it
Stationary(atoms)
ZeroRotation(atoms)

total = []
dynamics = VelocityVerlet(atoms, timestep=0.25 * units.fs, trajectory="water.traj", loginterval=4)
dynamics.attach(lambda: total.append(atoms.get_total_energy()))
dynamics.run(100)

print(f"{len(total)} steps of 0.25 fs, total energy {np.mean(total):.4f} eV +- {1e3 * np.std(total):.2f} meV")
with Trajectory("water.traj") as frames:
    print(f"water.traj has {len(frames)} frames; ase gui water.traj shows them")
print(f"the last has the energy {read('water.traj').get_potential_energy():.4f} eV")
