"""The shipped water model, molecules that it did not learn from, and PySCF's answers for them, each computed once."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from ase import Atoms
from pyscf import gto

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.demo.run import held_out_waters
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.functional import ScfResult, converge
from ase_mlwave.reference.levels import LevelOfTheory

MODEL = "phisnet-water"
LEVEL = "pbe/def2-svp"
BASIS = "def2-svp"


@cache
def shipped(energy: str = "wavefunction") -> PhiSNetCalculator:
    """Load the shipped model once per level; for calls that leave the calculator as it is."""
    return PhiSNetCalculator(MODEL, energy=energy)


def waters(count: int = 24) -> list[Atoms]:
    """Return held-out waters, vibrating at up to 1,200 K, with PBE/def2-SVP energies and forces."""
    frames = held_out_waters()
    return [frames[k] for k in np.linspace(0, len(frames) - 1, count).round().astype(int)]


def mole_of(atoms: Atoms, basis: str = BASIS) -> gto.Mole:
    record = record_from_atoms(atoms)
    return build_mole(record.numbers, record.positions, basis)


def pyscf_molecule(atoms: Atoms, **options: Any) -> gto.Mole:
    """Build a molecule as a user of PySCF does: in Angstrom, PySCF's own conversion to Bohr."""
    pairs = [(atom.symbol, atom.position) for atom in atoms]
    return gto.M(atom=pairs, **{"basis": BASIS, "verbose": 0, **options})


def solve(atoms: Atoms, level: str = LEVEL) -> tuple[ScfResult, np.ndarray]:
    """Converge PySCF's SCF from its own guess; return the result and its Fock matrix."""
    mean_field: Any = LevelOfTheory.parse(level).mean_field(mole_of(atoms))
    result = converge(mean_field)
    return result, np.asarray(mean_field.get_fock(dm=result.density))


@cache
def solved(index: int, count: int = 3) -> tuple[ScfResult, np.ndarray]:
    """Return `solve` for one of ``waters(count)``."""
    return solve(waters(count)[index])
