"""Queries of every kind as one ``Molecule``: SMILES, RDKit molecules, files, and coordinates whose bonds are found."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import covalent_radii
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from ase_mlwave.models.amons.fragments.coordinates import bonded_pairs, molecule_from_coordinates, total_charge
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.query_files import RDKIT_FILES, looks_like_a_file, query_in_file, read_with_ase
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond, canonical_smiles, pair_of, sanitise
from ase_mlwave.systems.conversion import atoms_from_system
from ase_mlwave.systems.neighbours import near_points
from ase_mlwave.systems.system import System

__all__ = ["RDKIT_FILES", "bonded_pairs", "looks_like_a_file", "molecule_from", "read_query", "read_with_ase"]

#: Atoms nearer than this coincide, Angstrom (the shortest bond, H2, is 0.74 A long).
_COINCIDING = 0.4
#: Lengths that a bond given by a file or by RDKit may have, in sums of covalent radii.
_SHORTEST_BOND, _LONGEST_BOND = 0.6, 1.5
#: Bonds of a flat structure that are longer than this are drawn; elements whose four neighbours are not in a plane.
_LONGEST_DRAWN, _TETRAHEDRAL = 1.3, (6, 7, 14, 15)
#: Order of a bond -> its usual length in sums of covalent radii, and how far from it flat coordinates may be.
_USUAL, _PLAY = {1.0: 1.0, 1.5: 0.93, 2.0: 0.87, 3.0: 0.79}, 0.13
#: Extent across its plane up to which a molecule is flat, Angstrom.
_FLAT = 0.05


def molecule_from(query: Any) -> Molecule:
    """Read a query.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        A SMILES; the path of an SDF, MOL or PDB file (one molecule, all hydrogens), or of a file that ASE reads; a
        molecule of RDKit's (flat drawings count as graphs); or coordinates, whose bonds are found given the charge
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
    molecule = read_query(query)
    if isinstance(molecule, Atoms):
        raise InputError(
            f"the query is periodic (pbc={molecule.pbc.tolist()}), but a molecule is asked for here. Set atoms.pbc = "
            "False if it is a molecule in a box; crystals are queries of find_amons only."
        )
    return molecule


def read_query(query: Any) -> Molecule | Atoms:
    """Read a query, crystals too.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        See `molecule_from`.

    Returns
    -------
    Molecule or Atoms
        Atoms are periodic.

    Raises
    ------
    InputError
        As `molecule_from`, but for crystals.
    """
    if isinstance(query, Molecule):
        return query
    if isinstance(query, str) and not looks_like_a_file(query):
        return _from_smiles(query)
    if isinstance(query, (str, Path)):
        query = query_in_file(Path(query))
    elif isinstance(query, System):
        query = atoms_from_system(query)
    if isinstance(query, Chem.Mol):
        return _from_rdkit(query)
    if isinstance(query, Atoms):
        return query if query.pbc.any() else _from_atoms(query)
    raise InputError(
        f"a query cannot be a {type(query).__name__}. Give a SMILES, a file (SDF, MOL, PDB or one that ASE reads), "
        "an ase.Atoms, a Record, or an RDKit molecule."
    )


def _from_smiles(smiles: str) -> Molecule:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if mol is None:
        raise InputError(f"{smiles!r} is no valid SMILES and no file. Give one such as 'CC(=O)O', or a file's path.")
    return Molecule.from_rdkit(mol)


def _from_atoms(atoms: Atoms) -> Molecule:
    """Find the bonds of a molecule given by coordinates and charge."""
    if len(atoms) == 0:
        raise InputError("the query has no atoms; give a molecule.")
    if not np.isfinite(atoms.positions).all():
        raise InputError("the query has positions that are not finite numbers.")
    _refuse_coinciding(atoms.positions)
    return molecule_from_coordinates(atoms, charge=total_charge(atoms))[0]


def _from_rdkit(query: Chem.Mol) -> Molecule:
    """Sanitise a copy; a drawing loses its coordinates, and what RDKit does not accept gets bond orders anew."""
    mol = Chem.Mol(query)
    placed = mol.GetNumConformers() > 0 and not _is_drawing(mol)
    if not placed:
        mol.RemoveAllConformers()
    reason: Exception | None = None
    try:
        sanitise(mol)
    except ValueError as error:
        reason = error
    if placed and (reason is not None or _lacks_hydrogens(mol)):
        mended = _mended(mol, reason)
        if mended is not None:
            return mended
    if reason is not None:
        raise InputError(f"RDKit does not accept the query: {reason}. Check its bonds and charges.") from reason
    if placed:
        _refuse_impossible_bonds(mol)
    return Molecule.from_rdkit(mol)


def _positions(mol: Chem.Mol) -> NDArray[np.float64]:
    return np.asarray(mol.GetConformer().GetPositions(), dtype=np.float64)


def _pairs(mol: Chem.Mol) -> list[Bond]:
    return sorted(pair_of(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds())


def _lengths(mol: Chem.Mol) -> NDArray[np.float64]:
    """Return the lengths of all bonds in sums of covalent radii."""
    radii = covalent_radii[[atom.GetAtomicNum() for atom in mol.GetAtoms()]]
    pairs = np.array(_pairs(mol), dtype=int).reshape(-1, 2)
    apart = _positions(mol)[pairs[:, 0]] - _positions(mol)[pairs[:, 1]]
    return np.asarray(np.linalg.norm(apart, axis=1) / (radii[pairs[:, 0]] + radii[pairs[:, 1]]))


def _is_drawing(mol: Chem.Mol) -> bool:
    """Tell a drawing from a geometry, whatever the file says: all atoms lie in a plane, and they cannot be there.

    Coordinates that claim three dimensions are believed where nothing speaks against them; those that claim two, where
    all hydrogens are there and every bond has its usual length: a flat molecule.
    """
    if np.ptp(_positions(mol)[:, 2]) > _FLAT:
        return False
    lengths = _lengths(mol)
    if not mol.GetConformer().Is3D():
        bonds = sorted(mol.GetBonds(), key=lambda bond: sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())))
        usual = np.array([_USUAL.get(bond.GetBondTypeAsDouble(), 0.0) for bond in bonds])
        return _lacks_hydrogens(mol) or bool((np.abs(lengths - usual) > _PLAY).any())
    stretched = bool(((lengths < _SHORTEST_BOND) | (lengths > _LONGEST_DRAWN)).any())
    crossed = any(atom.GetDegree() > 3 and atom.GetAtomicNum() in _TETRAHEDRAL for atom in mol.GetAtoms())
    if stretched or crossed:
        warnings.warn(
            "the query's coordinates claim three dimensions, but are those of a flat drawing: only its bonds are used. "
            "Give a geometry (for example from RDKit's EmbedMolecule) where coordinates matter.",
            stacklevel=5,
        )
    return stretched or crossed


def _lacks_hydrogens(mol: Chem.Mol) -> bool:
    checked = Chem.Mol(mol)
    checked.UpdatePropertyCache(strict=False)
    return any(atom.GetTotalNumHs() > 0 for atom in checked.GetAtoms())


def _mended(mol: Chem.Mol, reason: Exception | None) -> Molecule | None:
    """Find bond orders and charges anew from the bonds and hydrogens that a geometry has, or return None.

    Nitro groups whose charges got lost, for example. Hydrogens are believed to be missing, not charges, where more
    charge or other bonds between carbon atoms would come of it.
    """
    atoms = Atoms([atom.GetAtomicNum() for atom in mol.GetAtoms()], _positions(mol))
    written = sum(atom.GetFormalCharge() for atom in mol.GetAtoms())
    try:
        molecule, charge = molecule_from_coordinates(atoms, _pairs(mol), charge=None)
    except InputError:
        return None
    if (charge != written and abs(charge) >= abs(written)) or (reason is None and charge == written):
        return None
    if abs(_carbon_orders(molecule) - _written_carbon_orders(mol)) > 0.5:
        return None
    cause = f" (RDKit: {reason})" if reason is not None else ""
    warnings.warn(
        f"the bond orders and charges of the query do not fit its atoms{cause}; found anew, it is "
        f"{canonical_smiles(molecule.to_rdkit())} with charge {charge}.",
        stacklevel=5,
    )
    _refuse_impossible_bonds(mol)
    return molecule


def _carbon_orders(molecule: Molecule) -> float:
    return sum(order for pair, order in molecule.orders.items() if {molecule.numbers[atom] for atom in pair} == {6})


def _written_carbon_orders(mol: Chem.Mol) -> float:
    """Add up the orders of all bonds between carbon atoms."""
    return sum(
        float(bond.GetBondTypeAsDouble())
        for bond in mol.GetBonds()
        if bond.GetBeginAtom().GetAtomicNum() == bond.GetEndAtom().GetAtomicNum() == 6
    )


def _refuse_impossible_bonds(mol: Chem.Mol) -> None:
    """Raise ``InputError`` where atoms coincide, or bonds that were given are no bonds in the coordinates."""
    _refuse_coinciding(_positions(mol))
    lengths, pairs = _lengths(mol), _pairs(mol)
    if len(pairs) and not _SHORTEST_BOND < float(np.median(lengths)) < _LONGEST_BOND:
        raise InputError(
            f"half of the query's bonds are {np.median(lengths):.2f} times as long as bonds are: its coordinates are "
            "not in Angstrom. Convert them."
        )
    for (i, j), length in zip(pairs, lengths, strict=True):
        if not _SHORTEST_BOND < length < _LONGEST_BOND:
            names = [f"{mol.GetAtomWithIdx(atom).GetSymbol()}{atom}" for atom in (i, j)]
            apart = float(np.linalg.norm(_positions(mol)[i] - _positions(mol)[j]))
            raise InputError(
                f"the query has a bond {names[0]}-{names[1]}, but they are {apart:.2f} A apart. Check its coordinates "
                "and bonds."
            )


def _refuse_coinciding(positions: NDArray[np.float64]) -> None:
    pairs = near_points(positions, _COINCIDING)
    if pairs:
        i, j = pairs[0]
        raise InputError(
            f"atoms {i} and {j} of the query coincide ({np.linalg.norm(positions[i] - positions[j]):.2f} A apart); "
            "check its coordinates (in Angstrom, each atom once)."
        )
