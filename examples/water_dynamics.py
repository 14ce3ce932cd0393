"""Run a cluster of four waters with a model learned from its pairs and triples, and compare with the reference."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from ase_mlwave import AmonsCalculator, ReferenceCalculator

# A ring: every molecule gives one hydrogen to the next.
cluster = Atoms()
for turn in range(4):
    water = molecule("H2O")
    water.positions -= water.positions[0]
    along = np.array([0.0, 1.0, 0.0])
    water.rotate(water.positions[1], along, center=(0, 0, 0))
    water.positions += [1.95, 0, 0]
    water.rotate(90 * turn, "z")
    cluster += water
cluster.calc = ReferenceCalculator("gfn2-xtb")
BFGS(cluster, logfile=None).run(fmax=0.02, steps=200)

calc = AmonsCalculator.for_query(
    cluster,
    reference="gfn2-xtb",
    max_heavy=1,
    max_contact_heavy=3,  # a water, pairs and triples that touch
    database="waters.db",
    displaced=32,
    uncertainty="none",  # not at every step
)
print(f"learned from {len(calc.study.records)} geometries of {', '.join(calc.extras['amons'])}")

thermalize_momenta(cluster, temperature_K=200, rng=np.random.default_rng(1))
Stationary(cluster)
ZeroRotation(cluster)
cluster.calc = calc
total, errors = [], []


def watch() -> None:
    """Note the total energy, and the error of the forces against the reference."""
    total.append(cluster.get_total_energy())
    reference = cluster.copy()
    reference.calc = ReferenceCalculator("gfn2-xtb")
    errors.append(np.abs(cluster.get_forces() - reference.get_forces()).mean())


dynamics = VelocityVerlet(cluster, timestep=0.5 * units.fs)
dynamics.attach(watch, interval=10)
dynamics.run(100)
print(f"50 fs at constant energy: {np.mean(total):.3f} eV +- {1e3 * np.std(total):.1f} meV")
print(f"mean error of the forces on the way: {1e3 * np.mean(errors):.0f} meV/A")
