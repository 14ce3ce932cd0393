"""Conformers of drug-like molecules with energies of several methods: `../shared/data/conformers_chno_dev.npz`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from benchmarks.common import KCAL_PER_MOL

Array = NDArray[np.float64]

#: Column -> entry of the file, and kcal/mol in its unit.
_ENERGIES = {
    "pbe/def2-svp": ("energy_hartree_pbe_svp_nod", KCAL_PER_MOL),
    "dlpno-ccsd(t)": ("energy_hartree_dlpno_ccsdt", KCAL_PER_MOL),
    "gfn2-xtb": ("energy_kcal_mol_gfn2", 1.0),
    "ani-1x": ("energy_kcal_mol_ani1x", 1.0),
}


@dataclass(frozen=True)
class Conformers:
    """The conformers of one molecule."""

    name: str
    structures: tuple[Atoms, ...]
    energies: dict[str, Array]  # method -> of each conformer, kcal/mol, from an arbitrary zero

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.structures[0])


def read_conformers(path: Path) -> list[Conformers]:
    """Read the molecules of a file, in its order, each with its conformers."""
    with np.load(path, allow_pickle=False) as file:
        missing = {"numbers", "positions", "natoms", "molecule", *(name for name, _ in _ENERGIES.values())} - {*file}
        if missing:
            raise InputError(f"{path} is no set of conformers: it lacks {', '.join(sorted(missing))}.")
        data = {name: file[name] for name in file}
    ends = np.cumsum(data["natoms"].astype(int))
    names = data["molecule"].tolist()
    found = []
    for name in dict.fromkeys(names):
        rows = [row for row, other in enumerate(names) if other == name]
        places = [slice(ends[row] - int(data["natoms"][row]), ends[row]) for row in rows]
        structures = tuple(Atoms(data["numbers"][place], data["positions"][place]) for place in places)
        energies = {method: factor * data[entry][rows] for method, (entry, factor) in _ENERGIES.items()}
        found.append(Conformers(name, structures, energies))
    return found
