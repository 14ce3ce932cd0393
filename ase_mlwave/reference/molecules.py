"""Starting geometries from a name, a SMILES or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.collections import g2

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.errors import suggestion
from ase_mlwave.units import BOHR

__all__ = ["from_smiles", "starting_geometries"]


def starting_geometries(text: str, seed: int = 0) -> tuple[Record, ...]:
    """Return the molecules that a text stands for.

    Parameters
    ----------
    text : str
        A file that ``read_dataset`` reads; a name of ``ase.build.molecule`` such as ``"H2O"``; or a SMILES such as
        ``"CCO"``. ``"ase:CO"`` and ``"smiles:CO"`` say which, where a text may be both.
    seed : int
        For the geometry of a SMILES.

    Returns
    -------
    tuple of Record
        Without labels.

    Raises
    ------
    InputError
        If the text stands for nothing, or for two things.
    """
    kind, _, name = text.partition(":")
    if kind == "smiles":
        return (from_smiles(name, seed),)
    if kind == "ase":
        return (_from_ase(name),)
    if Path(text).suffix in {".db", ".npz", ".extxyz", ".xyz"}:
        return read_dataset(text).records
    names_molecule, is_smiles = text in g2.names, _parse_smiles(text) is not None
    if names_molecule and is_smiles:
        raise InputError(
            f"{text!r} names a molecule of ASE and is a SMILES too. Write 'ase:{text}' or 'smiles:{text}'."
        )
    if names_molecule:
        return (_from_ase(text),)
    if is_smiles:
        return (from_smiles(text, seed),)
    raise InputError(
        f"{text!r} is no data file, no SMILES and no molecule that ASE knows. "
        f"Give a file, a SMILES such as 'CCO', or a name such as 'H2O'."
    )


def from_smiles(smiles: str, seed: int = 0) -> Record:
    """Build a geometry from a SMILES: RDKit's distance geometry, relaxed with MMFF94 where it has the parameters.

    Parameters
    ----------
    smiles : str
        Of one molecule; formal charges give the total charge, radical electrons the spin.
    seed : int
        Of the embedding.

    Returns
    -------
    Record
        ``info["smiles"]`` is the canonical SMILES.

    Raises
    ------
    InputError
        If the SMILES is malformed, has several parts, or RDKit finds no geometry.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    parsed = _parse_smiles(smiles)
    if parsed is None:
        raise InputError(f"{smiles!r} is no valid SMILES.")
    if len(Chem.GetMolFrags(parsed)) > 1:
        raise InputError(f"the SMILES {smiles!r} has several molecules; give one, or a file with their geometry.")
    full = Chem.AddHs(parsed)
    if rdDistGeom.EmbedMolecule(full, randomSeed=seed) != 0:
        raise InputError(f"RDKit finds no geometry for {smiles!r}; try another seed, or give a file.")
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(full):
        rdForceFieldHelpers.MMFFOptimizeMolecule(full, maxIters=2000)
    return Record(
        numbers=np.array([atom.GetAtomicNum() for atom in full.GetAtoms()]),
        positions=np.array(full.GetConformer().GetPositions()) / BOHR,
        charge=Chem.GetFormalCharge(full),
        spin=sum(atom.GetNumRadicalElectrons() for atom in full.GetAtoms()),
        info={"smiles": Chem.MolToSmiles(parsed)},
    )


def _from_ase(name: str) -> Record:
    if name not in g2.names:
        raise InputError(f"ASE knows no molecule {name!r}. {suggestion(name, g2.names)}")
    atoms: Atoms = molecule(name)
    spin = round(float(atoms.get_initial_magnetic_moments().sum()))
    atoms.set_initial_magnetic_moments(None)
    return record_from_atoms(Atoms(atoms.numbers, atoms.positions, info={"spin": spin}), name=name)


def _parse_smiles(smiles: str) -> Any:
    """Return RDKit's molecule, or None if this is no SMILES."""
    if not smiles:
        return None
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)
