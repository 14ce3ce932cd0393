"""A toy level of theory: harmonic springs between all atoms, with energies and forces in closed form."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase.build import molecule

from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR

_STIFFNESS = 0.2  # Hartree/Bohr, over the length at rest
_ATOMS = {1: -0.6, 6: -38.0, 7: -54.7, 8: -75.2, 14: -289.2}


def methanols(seeds: Iterable[int]) -> list[Record]:
    """Return distorted methanols, labelled, with their SMILES."""
    return [record.with_info(smiles="CO") for record in distorted("CH3OH", seeds)]


def distorted(formula: str, seeds: Iterable[int], amplitude: float = 0.03) -> list[Record]:
    """Return distorted molecules, labelled; displacements in Bohr."""
    atoms = molecule(formula)
    rest = atoms.positions / BOHR
    moved = (rest + np.random.default_rng(seed).normal(scale=amplitude, size=rest.shape) for seed in seeds)
    return [_label(atoms.numbers, positions, rest) for positions in moved]


def _label(numbers: np.ndarray, positions: np.ndarray, rest: np.ndarray) -> Record:
    i, j = np.triu_indices(len(numbers), 1)
    apart, start = positions[i] - positions[j], np.linalg.norm(rest[i] - rest[j], axis=1)
    length = np.linalg.norm(apart, axis=1)
    strength = _STIFFNESS / start
    forces = np.zeros_like(positions)
    pull = -(strength * (length - start) / length)[:, None] * apart
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    energy = sum(_ATOMS[z] for z in numbers) + float(np.sum(strength * (length - start) ** 2) / 2)
    return Record(numbers, positions, energy=energy, forces=forces)
