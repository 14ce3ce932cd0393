"""Geometries that the systems of each class begin with, Angstrom, and molecules drawn from files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from rdkit import Chem

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.units import BOHR

#: Length of the bond to the hydrogen that ends a chain.
_CAP = 1.10


def built(name: str, carbon: Sequence[int] = ()) -> Atoms:
    """Read a structure of ``systems.json``, with carbon at these sites of the ring in its middle."""
    known = json.loads(Path(__file__).with_name("systems.json").read_text(encoding="utf-8"))[name]
    atoms = Atoms(known["numbers"], known["positions"], cell=known.get("cell"), pbc=known.get("pbc", False))
    if carbon:
        atoms.numbers[[known["ring"][site] for site in carbon]] = 6
    return atoms


def choose(path: Path, sizes: Sequence[int], count: int, seed: int) -> list[Record]:
    """Choose molecules of so many heavy atoms at random among those whose bonds are certain; no labels.

    ``info["name"]`` is file and row. A larger count only adds molecules.
    """
    found = []
    for row, record in enumerate(read_dataset(path)):
        info = {"name": f"{path.stem}-{row}", "n_heavy": int((record.numbers > 1).sum())}
        if info["n_heavy"] in sizes:
            found.append(replace(record, energy=None, forces=None, info=info))
    shuffled = (found[index] for index in np.random.default_rng(seed).permutation(len(found)))
    return list(islice((record for record in shuffled if smiles_of(record) is not None), count))


def smiles_of(record: Record) -> str | None:
    """Write a molecule as SMILES; None where its bonds are uncertain."""
    try:
        return str(Chem.MolToSmiles(Chem.RemoveHs(molecule_from(record).to_rdkit()), isomericSmiles=False))
    except InputError:
        return None


def middle_cell(chain: Record, n_cells: int) -> Atoms:
    """Make a periodic cell of the one in the middle of a chain, which ends with two hydrogens."""
    n, middle = (len(chain) - 2) // n_cells, n_cells // 2
    before, here, after = (chain.positions[k * n : (k + 1) * n] * BOHR for k in (middle - 1, middle, middle + 1))
    period = ((after - here).mean(axis=0) + (here - before).mean(axis=0)) / 2
    across = np.linalg.svd(period[None])[2][1:] * 30.0
    numbers = chain.numbers[middle * n : (middle + 1) * n]
    return Atoms(numbers, here, cell=np.vstack([period, across]), pbc=(True, False, False))


def finite_chain(cell: Atoms, n_cells: int) -> Atoms:
    """Repeat a cell, with hydrogen in place of the next atoms on both sides."""
    period = cell.cell[0]
    atoms = Atoms()
    for index in range(n_cells):
        atoms += Atoms(cell.numbers, cell.positions + index * period)
    backbone = np.flatnonzero((cell.numbers != 1) & (cell.numbers != 17))
    first, last = cell.positions[backbone[0]], cell.positions[backbone[-1]]
    shift = (n_cells - 1) * period
    for end, other in ((first, last - period), (last + shift, first + shift + period)):
        along = other - end
        atoms += Atoms("H", [end + _CAP * along / np.linalg.norm(along)])
    return atoms
