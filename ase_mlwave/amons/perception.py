"""Queries of every kind as one ``Molecule``: SMILES, RDKit molecules, files, and coordinates whose bonds are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import covalent_radii
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds
from scipy.spatial import cKDTree

from ase_mlwave.amons.molecule import Bond, Molecule, canonical_smiles
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Record

__all__ = ["RDKIT_FILES", "bonded_pairs", "looks_like_a_file", "molecule_from", "read_with_ase"]

RDKIT_FILES = frozenset({".sdf", ".mol", ".pdb"})
#: In sums of covalent radii: bonds up to the second number; between the first and the third they are not certain.
_LIMITS = (1.25, 1.27, 1.29)
#: The same of two carbon atoms (1.78, 1.82, 1.85 A): the bridgeheads of bicyclo[1.1.1]pentane are 1.87 A apart.
_CARBON_LIMITS = (1.17, 1.20, 1.22)
#: Order of a bond -> sums of covalent radii that it does not exceed (C=C 1.47 A: three standard deviations at 300 K).
_LONGEST_MULTIPLE = {2: 0.97, 3: 0.9}
#: Two hydrogen atoms this near are a molecule, Angstrom.
_LONGEST_HYDROGEN = 0.9
_BONDS_SHOWN = 60


def molecule_from(query: Any) -> Molecule:
    """Read a query.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        A SMILES; the path of an SDF, MOL or PDB file (one molecule, all hydrogens), or of a file that ASE reads; a
        molecule of RDKit's (flat drawings count as graphs); or coordinates, whose bonds RDKit finds given the charge
        (``atoms.info["charge"]``).

    Returns
    -------
    Molecule
        With positions where the query has three-dimensional coordinates. Atoms are in the query's order.

    Raises
    ------
    InputError
        If the query cannot be read; if hydrogens are missing; if it is periodic or has unpaired electrons; if atoms
        coincide; or if bonds found in coordinates are uncertain or need charges that were not given (the message
        shows the bonds found).
    """
    if isinstance(query, Molecule):
        return query
    if isinstance(query, Chem.Mol):
        return _from_rdkit(query)
    if isinstance(query, Record):
        return _from_coordinates(atoms_from_record(query))
    if isinstance(query, Atoms):
        return _from_coordinates(query)
    if isinstance(query, Path) or (isinstance(query, str) and looks_like_a_file(query)):
        return _from_file(Path(query))
    if isinstance(query, str):
        return _from_smiles(query)
    raise InputError(
        f"a query cannot be a {type(query).__name__}. Give a SMILES, a file (SDF, MOL, PDB or one that ASE reads), "
        "an ase.Atoms, a Record, or an RDKit molecule."
    )


def looks_like_a_file(text: str) -> bool:
    """Tell a path from a SMILES: there is such a file, or it ends as one would."""
    return Path(text).suffix.lower() in {*RDKIT_FILES, ".xyz", ".extxyz", ".cif"} or Path(text).is_file()


def _from_smiles(smiles: str) -> Molecule:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if mol is None:
        raise InputError(f"{smiles!r} is no valid SMILES and no file. Give one such as 'CC(=O)O', or a file's path.")
    return Molecule.from_rdkit(mol)


def _from_rdkit(given: Chem.Mol) -> Molecule:
    """Sanitise a copy; a flat drawing loses its coordinates."""
    mol = Chem.Mol(given)
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(mol)
    except ValueError as error:
        raise InputError(f"RDKit does not accept the query: {error}. Check its bonds and charges.") from error
    if mol.GetNumConformers() and not mol.GetConformer().Is3D():
        mol.RemoveAllConformers()
    molecule = Molecule.from_rdkit(mol)
    _refuse_coinciding(molecule)
    return molecule


def _from_file(path: Path) -> Molecule:
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}. Give the path of a structure, or a SMILES such as 'CCO'.")
    kind = path.suffix.lower()
    if kind not in RDKIT_FILES:
        return _from_coordinates(read_with_ase(path))
    with rdBase.BlockLogs():
        if kind == ".pdb":
            found = [Chem.MolFromPDBFile(str(path), removeHs=False, sanitize=False)]
        else:
            found = list(Chem.SDMolSupplier(str(path), removeHs=False, sanitize=False))
    if len(found) != 1 or found[0] is None:
        raise InputError(
            f"{path} has {len(found)} molecules or cannot be read by RDKit; give a file with one molecule."
        )
    if kind == ".pdb" and not _is_complete(found[0]):
        return _from_coordinates(read_with_ase(path))  # residues that RDKit does not know: all their bonds are single
    return _from_rdkit(found[0])


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
        raise InputError(f"ASE cannot read {path}: {error}.") from error
    if path.suffix.lower() == ".pdb":
        atoms.pbc = False  # a crystal's unit cell around one molecule
    return atoms


def _is_complete(mol: Chem.Mol) -> bool:
    """Tell whether residue templates gave every atom of a PDB file its bonds."""
    checked = Chem.Mol(mol)
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(checked)
    except ValueError:
        return False
    return all(atom.GetTotalNumHs() == 0 and atom.GetNumRadicalElectrons() == 0 for atom in checked.GetAtoms())


def _from_coordinates(atoms: Atoms) -> Molecule:
    """Find the bonds of a molecule given by coordinates and charge."""
    if len(atoms) == 0:
        raise InputError("the query has no atoms; give a molecule.")
    if atoms.pbc.any():
        raise InputError(
            f"the query is periodic (pbc={atoms.pbc.tolist()}), but a molecule is asked for here. Set atoms.pbc = "
            "False if it is a molecule in a box; crystals are queries of find_amons only."
        )
    if not np.isfinite(atoms.positions).all():
        raise InputError("the query has positions that are not finite numbers.")
    if int(atoms.info.get("spin", 0)):
        raise InputError("the query has unpaired electrons (info['spin']); fragments are defined for closed shells.")
    charge = int(atoms.info.get("charge", 0))
    mol = _unbonded(atoms)
    with rdBase.BlockLogs():
        _add_bonds(mol, atoms)
        try:
            rdDetermineBonds.DetermineBondOrders(mol, charge=charge, embedChiral=False, maxIterations=100_000)
            _pair_up_charges(mol)
            Chem.SanitizeMol(mol)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"RDKit finds no bond orders for {atoms.get_chemical_formula()} with charge {charge} (set another with "
                f"atoms.info['charge'], or give an SDF file with the bonds). Bonds found: {_listed(mol, atoms)}."
            ) from error
    _refuse_strange_charges(mol, atoms, charge)
    _refuse_long_multiple_bonds(mol, atoms)
    return Molecule.from_rdkit(mol)


def _unbonded(atoms: Atoms) -> Chem.RWMol:
    """Make an RDKit molecule of atoms without bonds."""
    mol = Chem.RWMol()
    for number in atoms.numbers:
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    conformer = Chem.Conformer(len(atoms))
    conformer.SetPositions(np.ascontiguousarray(atoms.positions, dtype=np.float64))
    mol.AddConformer(conformer, assignId=True)
    return mol


def _pair_up_charges(mol: Chem.RWMol) -> None:
    """Write S=O and P=O as a SMILES does, where RDKit finds S+-O-, and S=C=S where it finds S+#C-S-."""
    Chem.Kekulize(mol, clearAromaticFlags=True)
    for plus in [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() > 10 and atom.GetFormalCharge() > 0]:
        for bond in plus.GetBonds():
            middle, kind = bond.GetOtherAtom(plus), bond.GetBondType()
            if kind == Chem.BondType.SINGLE and plus.GetFormalCharge() > 0 and middle.GetFormalCharge() == -1:
                _move_charge(plus, middle)
                bond.SetBondType(Chem.BondType.DOUBLE)
            elif kind == Chem.BondType.TRIPLE and plus.GetFormalCharge() > 0:
                for other in middle.GetBonds():
                    minus = other.GetOtherAtom(middle)
                    if minus.GetFormalCharge() == -1 and other.GetBondType() == Chem.BondType.SINGLE:
                        _move_charge(plus, minus)
                        bond.SetBondType(Chem.BondType.DOUBLE)
                        other.SetBondType(Chem.BondType.DOUBLE)
                        break


def _move_charge(plus: Chem.Atom, minus: Chem.Atom) -> None:
    plus.SetFormalCharge(plus.GetFormalCharge() - 1)
    minus.SetFormalCharge(minus.GetFormalCharge() + 1)


def bonded_pairs(atoms: Atoms) -> tuple[tuple[Bond, ...], tuple[Bond, ...]]:
    """Find the atoms of a molecule that are near enough for a bond.

    Parameters
    ----------
    atoms : Atoms
        A molecule.

    Returns
    -------
    bonded : tuple of (int, int)
        Distances up to 1.27 sums of covalent radii, 1.20 between carbon atoms; the smaller index first, sorted.
    uncertain : tuple of (int, int)
        Pairs so close to these limits that they may or may not be bonded.
    """
    radii = covalent_radii[atoms.numbers]
    bonded, uncertain = [], []
    for i, j in sorted(cKDTree(atoms.positions).query_pairs(2.0 * _LIMITS[2] * float(radii.max()))):
        length = float(np.linalg.norm(atoms.positions[i] - atoms.positions[j]))
        ratio = length / float(radii[i] + radii[j])
        carbons = atoms.numbers[i] == atoms.numbers[j] == 6
        low, limit, high = _CARBON_LIMITS if carbons else _LIMITS
        if ratio < limit or length < _LONGEST_HYDROGEN:
            bonded.append((i, j))
        if low < ratio < high and length > _LONGEST_HYDROGEN:
            uncertain.append((i, j))
    return tuple(bonded), tuple(uncertain)


def _add_bonds(mol: Chem.RWMol, atoms: Atoms) -> None:
    """Bond the atoms that are near; raise ``InputError`` where a distance lies between that of a bond and of none."""
    bonded, uncertain = bonded_pairs(atoms)
    for i, j in bonded:
        mol.AddBond(i, j, Chem.BondType.SINGLE)
    if uncertain:
        raise InputError(
            f"it is not certain whether these atoms are bonded: {_listed_pairs(uncertain, atoms)}. Give an SDF file or "
            f"an RDKit molecule that says so. Bonds found: {_listed(mol, atoms)}."
        )


def _refuse_strange_charges(mol: Chem.Mol, atoms: Atoms, charge: int) -> None:
    """Raise ``InputError`` for charged carbon atoms that the total charge does not ask for: a wrong charge."""
    charged = [atom for atom in mol.GetAtoms() if atom.GetFormalCharge()]
    balanced = sum(abs(atom.GetFormalCharge()) for atom in charged) <= abs(charge)
    for atom in charged:
        opposite = any(other.GetFormalCharge() * atom.GetFormalCharge() < 0 for other in atom.GetNeighbors())
        if atom.GetAtomicNum() == 6 and not opposite and not balanced:
            raise InputError(
                f"with charge {charge} RDKit finds {canonical_smiles(mol)} for {atoms.get_chemical_formula()}, which "
                f"puts a charge on carbon atom {atom.GetIdx()}. Check atoms.info['charge'] and the hydrogens, or give "
                f"an SDF file. Bonds found: {_listed(mol, atoms)}."
            )


def _refuse_long_multiple_bonds(mol: Chem.Mol, atoms: Atoms) -> None:
    """Raise ``InputError`` for double and triple bonds as long as single ones: missing hydrogens."""
    Chem.Kekulize(mol, clearAromaticFlags=False)
    radii = covalent_radii[atoms.numbers]
    for bond in mol.GetBonds():
        pair, order = _pair(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), bond.GetBondTypeAsDouble()
        length = float(np.linalg.norm(atoms.positions[pair[0]] - atoms.positions[pair[1]]))
        charged = bond.GetBeginAtom().GetFormalCharge() or bond.GetEndAtom().GetFormalCharge()
        if order == 1 or bond.GetIsAromatic() or charged:
            continue  # aromatic bonds, and those of ozone, lie between single and double
        if length > _LONGEST_MULTIPLE[int(order)] * float(radii[[*pair]].sum()):
            raise InputError(
                f"RDKit finds {canonical_smiles(mol)}, but the bond {_listed_pairs([pair], atoms)} is too long for "
                f"order {int(order)}. Check hydrogens and charge, or give an SDF file. "
                f"Bonds found: {_listed(mol, atoms)}."
            )


def _refuse_coinciding(molecule: Molecule) -> None:
    if molecule.positions is not None:
        pairs = cKDTree(molecule.positions).query_pairs(0.2)
        if pairs:
            raise InputError(f"atoms {sorted(pairs)[0]} of the query coincide; check its coordinates.")


def _listed(mol: Chem.Mol, atoms: Atoms) -> str:
    """Show the bonds of a molecule for a message."""
    pairs = sorted(_pair(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds())
    return _listed_pairs(pairs, atoms) or "none"


def _listed_pairs(pairs: Sequence[Bond], atoms: Atoms) -> str:
    shown = [
        f"{atoms[i].symbol}{i}-{atoms[j].symbol}{j} ({np.linalg.norm(atoms.positions[i] - atoms.positions[j]):.2f} A)"
        for i, j in pairs[:_BONDS_SHOWN]
    ]
    more = f" and {len(pairs) - _BONDS_SHOWN} more" if len(pairs) > _BONDS_SHOWN else ""
    return ", ".join(shown) + more


def _pair(i: int, j: int) -> Bond:
    return (min(i, j), max(i, j))
