"""Systems and helpers that the tests of the representation share; Angstrom, but for what goes into it: Bohr."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.representation import Slatm
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR


def slatm(*elements: str, smooth: bool = True) -> Slatm:
    return Slatm(SlatmConfig(elements=elements, smooth=smooth))


def random_molecule(elements: Sequence[str], n: int, seed: int, side: float = 6.0, nearest: float = 0.9) -> Atoms:
    """Draw atoms in a cube of this side that are not too near to one another, Angstrom."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < n:
        place = rng.uniform(0, side, 3)
        if all(np.linalg.norm(place - other) > nearest for other in places):
            places.append(place)
    return Atoms([elements[i] for i in rng.integers(len(elements), size=n)], positions=places)


def geometry(atoms: Atoms) -> System:
    """Give an ``Atoms`` object in Bohr."""
    return System(atoms.numbers, atoms.positions / BOHR, cell=atoms.cell.array / BOHR, pbc=atoms.pbc)


def rows(representation: Slatm, *systems: Atoms) -> Tensor:
    """Represent ``Atoms`` objects as one batch."""
    return representation.environments_of(representation.collate([geometry(atoms) for atoms in systems]))


def full_rows(representation: Slatm, atoms: Atoms) -> np.ndarray:
    return representation.expand(rows(representation, atoms), torch.from_numpy(atoms.numbers)).numpy()
