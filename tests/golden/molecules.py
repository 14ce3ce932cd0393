"""The molecules and crystals that the golden figures are of, each given by a name and a seed."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene, molecule


def displaced(name: str, seed: int, size: float = 0.04) -> Atoms:
    """Return a molecule of ASE's collection, turned and with displaced atoms; positions rounded to 1e-6 Angstrom."""
    atoms = molecule(name)
    atoms.set_initial_magnetic_moments(None)
    rng = np.random.default_rng(seed)
    atoms.rotate(37 + 10 * seed, (1, 2, 3))
    atoms.positions = np.round(atoms.positions + rng.normal(scale=size, size=atoms.positions.shape), 6)
    return atoms


def waters(n: int = 3) -> list[Atoms]:
    return [displaced("H2O", seed) for seed in range(n)]


def water_cluster() -> Atoms:
    """Return a chain of three waters that touch."""
    cluster = Atoms()
    for k in range(3):
        water = molecule("H2O")
        water.rotate(40 * k, "y")
        water.translate((0.3 * k, 0.2 * k, 2.9 * k))
        cluster += water
    cluster.positions = np.round(cluster.positions, 6)
    return cluster


def crystal(name: str) -> Atoms:
    if name == "diamond":
        return bulk("C", "diamond", a=3.567)
    sheet = graphene("BN", a=2.504, vacuum=8.0)
    sheet.pbc = (True, True, False)
    return sheet
