"""Files that hold a query: SDF, MOL and PDB through RDKit, with their bonds; all others through ASE."""

from __future__ import annotations

from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.calculator import InputError
from rdkit import Chem, rdBase

from ase_mlwave.errors import reading_fault

__all__ = ["RDKIT_FILES", "looks_like_a_file", "query_in_file", "read_with_ase"]

RDKIT_FILES = frozenset({".sdf", ".mol", ".pdb"})
_ASE_FILES = frozenset({".xyz", ".extxyz", ".cif"})
#: Columns of a PDB file: alternate location, and charge.
_ALTERNATE, _CHARGE = 16, slice(78, 80)


def looks_like_a_file(text: str) -> bool:
    """Tell a path from a SMILES: there is such a file, or it ends as one would."""
    return Path(text).suffix.lower() in RDKIT_FILES | _ASE_FILES or Path(text).is_file()


def query_in_file(path: Path) -> Chem.Mol | Atoms:
    """Read the one structure of a file.

    Parameters
    ----------
    path : Path
        SDF, MOL, PDB, or any file that ASE reads.

    Returns
    -------
    rdkit.Chem.Mol or Atoms
        RDKit's molecule, not sanitised, where the file says what is bonded: SDF, MOL, and PDB of residues that RDKit
        knows.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, has several molecules, models or alternate locations, or no atoms.
    """
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}. Give the path of a structure, or a SMILES such as 'CCO'.")
    kind = path.suffix.lower()
    if kind not in RDKIT_FILES:
        return read_with_ase(path)
    if kind == ".pdb":
        return _pdb_file(path)
    try:
        with rdBase.BlockLogs():
            molecules = list(Chem.SDMolSupplier(str(path), removeHs=False, sanitize=False))
    except OSError:
        molecules = []
    if len(molecules) != 1:
        raise InputError(f"{path} has {len(molecules)} molecules; give a file with one molecule.")
    if molecules[0] is None:
        raise InputError(f"{path} cannot be read by RDKit; write it anew, or give another format (PDB, XYZ).")
    return molecules[0]


def read_with_ase(path: Path) -> Atoms:
    """Read the last structure of a file.

    Parameters
    ----------
    path : Path
        Of any kind that ASE knows.

    Returns
    -------
    Atoms
        Of a PDB file without its cell.

    Raises
    ------
    InputError
        If ASE cannot read it.
    """
    try:
        atoms: Atoms = ase.io.read(path)  # type: ignore[assignment]  # one structure: the last one
    except Exception as error:
        raise InputError(f"ASE cannot read {path}: {reading_fault(error)}.") from error
    if path.suffix.lower() == ".pdb":
        atoms.pbc = False  # a crystal's unit cell around one molecule
    return atoms


def _pdb_file(path: Path) -> Chem.Mol | Atoms:
    """Read a PDB file: with the bonds of its residues where RDKit knows them, else as coordinates."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    models = sum(line.startswith("MODEL ") for line in lines)
    if models > 1:
        raise InputError(
            f"{path} has {models} models. Give a file with one of them, or the coordinates of one: "
            f"ase.io.read({path.name!r}, index=0) is the first."
        )
    atoms = [line for line in lines if line.startswith(("ATOM  ", "HETATM"))]
    if not atoms:
        raise InputError(f"{path} has no atoms (lines that begin with ATOM or HETATM).")
    places = sorted({line[_ALTERNATE : _ALTERNATE + 1] for line in atoms} - {" ", ""})
    if len(places) > 1:
        raise InputError(
            f"{path} has atoms at alternate locations ({', '.join(places)}). Keep one location of every atom."
        )
    with rdBase.BlockLogs():
        mol = Chem.MolFromPDBFile(str(path), removeHs=False, sanitize=False)
    if mol is not None and _is_complete(mol):
        return mol
    query = read_with_ase(path)  # residues that RDKit does not know: all their bonds are single
    query.info = {"charge": sum(_written_charge(line[_CHARGE]) for line in atoms)}
    return query


def _is_complete(mol: Chem.Mol) -> bool:
    """Tell whether residue templates gave every atom of a PDB file its bonds."""
    checked = Chem.Mol(mol)
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(checked)
    except ValueError:
        return False
    return all(atom.GetTotalNumHs() == 0 and atom.GetNumRadicalElectrons() == 0 for atom in checked.GetAtoms())


def _written_charge(text: str) -> int:
    """Read a charge such as ``1-``; 0 where there is none."""
    digits = text.strip().rstrip("+-")
    return (-1 if "-" in text else 1) * int(digits) if digits.isdigit() else 0
