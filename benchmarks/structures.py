"""Structures that benchmarks have in common: alkanes, drops of water, and molecules of QM9's size; Angstrom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR

#: Volume of a molecule in liquid water at 298 K, Angstrom^3 (0.997 g/cm^3).
_WATER_VOLUME = 30.0
#: Smallest distance of atoms of different water molecules, Angstrom (the hydrogen bond has about 1.8).
_CONTACT = 1.6
#: Name -> SMILES, from ``molecules.yaml``.
SMILES: dict[str, list[str]] = {
    name: text.split()
    for name, text in yaml.safe_load(Path(__file__).with_name("molecules.yaml").read_text(encoding="utf-8")).items()
}


def chain(n_atoms: int) -> Atoms:
    """Build the stretched alkane whose size is nearest to ``n_atoms`` (at least methane's 5)."""
    n = max(1, round((n_atoms - 2) / 3))
    carbons = np.array([[1.27 * i, 0.0, 0.42 * (-1) ** i] for i in range(n)])
    side = np.array([[0.0, 0.88, 0.63], [0.0, -0.88, 0.63]])
    hydrogens = [c + s * [1, 1, (-1) ** i] for i, c in enumerate(carbons) for s in side]
    ends = [carbons[0] + [-0.89, 0, -0.63], carbons[-1] + [0.89, 0, -0.63 * (-1) ** (n - 1)]]
    return Atoms(f"C{n}H{2 * n + 2}", np.concatenate([carbons, hydrogens, ends]))


def water_box(n_atoms: int, seed: int = 0) -> Atoms:
    """Build a drop of water of liquid density, not periodic, of about ``n_atoms``.

    Molecules lie around the places of a simple cubic lattice nearest to the centre, turned at random such that no atoms
    of different molecules are nearer than 1.6 A (``test_waters_do_not_overlap``).
    """
    n = max(1, round(n_atoms / 3))
    side = int(np.ceil(n ** (1 / 3)))
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) - (side - 1) / 2
    places = places[np.argsort((places**2).sum(1), kind="stable")[:n]] * _WATER_VOLUME ** (1 / 3)
    water = molecule("H2O")
    shape = water.positions - water.positions[0]
    generator = np.random.default_rng(seed)
    positions = np.empty((0, 3))
    for place in places:
        near = positions[np.linalg.norm(positions - place, axis=1) < 6]
        while True:
            turned = place + Rotation.random(random_state=generator).apply(shape)
            if not len(near) or np.linalg.norm(turned[:, None] - near, axis=-1).min() > _CONTACT:
                break
        positions = np.concatenate([positions, turned])
    return Atoms("OH2" * n, positions)


def of_nine_heavy(n: int, seed: int = 0) -> list[Atoms]:
    """Build n distorted molecules of nine heavy atoms."""
    known = [from_smiles(smiles, seed) for smiles in SMILES["nine_heavy"][:n]]
    rng = np.random.default_rng(seed)
    chosen = [known[i % len(known)] for i in range(n)]
    return [Atoms(r.numbers, r.positions * BOHR + rng.normal(scale=0.03, size=r.positions.shape)) for r in chosen]
