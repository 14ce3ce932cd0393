"""A molecule held by springs: every figure of it is known."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes


class PairSprings(Calculator):
    """Springs between all pairs of atoms, whose rest lengths are those of a geometry; turns and moves cost nothing."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, minimum: Atoms, constant: float = 10.0, wind: float = 0.0) -> None:
        super().__init__()
        self.lengths = minimum.get_all_distances() + np.eye(len(minimum))
        self.constant, self.wind = constant, wind

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        vectors = self.atoms.positions[:, None] - self.atoms.positions
        distances = np.linalg.norm(vectors, axis=-1) + np.eye(len(vectors))
        stretch = distances - self.lengths
        forces = -self.constant * (stretch / distances)[..., None] * vectors
        self.results["energy"] = self.constant * (stretch**2).sum() / 4
        # a force along the velocity that belongs to no energy: the total energy drifts
        self.results["forces"] = forces.sum(1) + self.wind * self.atoms.get_velocities()


def ethanol() -> Atoms:
    return molecule("CH3CH2OH")
