"""The kinds of bonded atoms that a molecule has: elements and numbers of bonds, no distances."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from ase_mlwave.models.domain.surroundings import BONDED
from ase_mlwave.systems.neighbours import find_pairs
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["kinds_of_atoms"]


def kinds_of_atoms(system: System) -> NDArray[np.int64]:
    """Give every atom a number for its kind: its element, those of its neighbours, and how many bonds these have.

    Parameters
    ----------
    system : System
        A molecule.

    Returns
    -------
    ndarray, (N,)
        The same number for the same kind in any molecule; another one for another kind, but for a chance of 1e-19.

    Notes
    -----
    Atoms are bonded that are nearer than 1.3 times the sum of their covalent radii, as in
    `ase_mlwave.models.domain.surroundings.describe`. A carbon atom of methanol has three H with one bond and an O with
    two, that of carbon monoxide an O with one (``test_kinds_of_atoms_tell_groups_apart``). Distances and angles change
    nothing until a bond breaks or forms.
    """
    numbers, radii = system.numbers, covalent_radii[system.numbers] / BOHR
    pairs = find_pairs(system, 2 * BONDED * float(radii.max()))
    r = np.linalg.norm(pairs.vectors(system), axis=1)
    bonded = r < BONDED * (radii[pairs.first] + radii[pairs.second])
    first, second = pairs.first[bonded], pairs.second[bonded]
    n_bonds = np.bincount(first, minlength=len(numbers))
    neighbours = np.stack([numbers[second], n_bonds[second]], axis=1)
    kinds = np.empty(len(numbers), dtype=np.int64)
    for atom, number in enumerate(numbers.tolist()):
        around = sorted(map(tuple, neighbours[first == atom].tolist()))
        digest = blake2b(repr((number, around)).encode(), digest_size=8).digest()
        kinds[atom] = int.from_bytes(digest, "little", signed=True)
    return kinds
