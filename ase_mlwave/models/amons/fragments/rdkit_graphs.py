"""RDKit's molecules: made from numbers and bonds, sanitised, and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ase.calculators.calculator import InputError
from rdkit import Chem, rdBase

__all__ = ["Bond", "bond_order", "canonical_smiles", "pair_of", "rdkit_graph", "sanitise"]

#: Two atoms, the smaller index first.
Bond = tuple[int, int]

#: From this many rings on RDKit's search through fused rings does not end.
_MANY_RINGS = 100
_ORDERS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}


def pair_of(i: int, j: int) -> Bond:
    """Return two atoms, the smaller index first."""
    return (min(i, j), max(i, j))


def rdkit_graph(
    numbers: Sequence[int],
    charges: Sequence[int],
    orders: Mapping[Bond, int],
    hydrogens: Sequence[int] | None = None,
) -> Chem.RWMol:
    """Make RDKit's molecule, not sanitised.

    Parameters
    ----------
    numbers, charges : sequence of int, (N,)
        Atomic numbers and formal charges.
    orders : mapping of (int, int) to int
        Bond orders: 1, 2 or 3.
    hydrogens : sequence of int, (N,), optional
        Hydrogens of every atom that are no atoms of their own; none by default.

    Returns
    -------
    rdkit.Chem.RWMol
        Atoms in this order.
    """
    mol = Chem.RWMol()
    for place, (number, charge) in enumerate(zip(numbers, charges, strict=True)):
        atom = Chem.Atom(int(number))
        atom.SetFormalCharge(charge)
        atom.SetNumExplicitHs(0 if hydrogens is None else hydrogens[place])
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for (i, j), order in orders.items():
        mol.AddBond(i, j, _ORDERS[order])
    return mol


def bond_order(bond: Chem.Bond) -> int:
    """Return 1, 2 or 3, or raise ``InputError`` for a bond of another kind."""
    for order, kind in _ORDERS.items():
        if bond.GetBondType() == kind:
            return order
    raise InputError(
        f"the bond between atoms {bond.GetBeginAtomIdx()} and {bond.GetEndAtomIdx()} is {bond.GetBondType()}; "
        "fragments are defined for single, double, triple and aromatic bonds."
    )


def sanitise(mol: Chem.Mol) -> None:
    """Let RDKit check valences and find aromaticity and hybridisation, in place.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Of more than 100 rings (sheets, tubes, large fullerenes) only rings of five and six are looked at one by one:
        RDKit's search through fused rings does not end there.

    Raises
    ------
    rdkit.Chem.MolSanitizeException
        If RDKit does not accept the valences.
    """
    steps = Chem.SanitizeFlags
    with rdBase.BlockLogs():
        if mol.GetNumBonds() - mol.GetNumAtoms() < _MANY_RINGS:
            Chem.SanitizeMol(mol)
            return
        late = steps.SANITIZE_SETAROMATICITY | steps.SANITIZE_SETCONJUGATION | steps.SANITIZE_SETHYBRIDIZATION
        Chem.SanitizeMol(mol, steps.SANITIZE_ALL ^ late)
        Chem.SetAromaticity(mol, Chem.AromaticityModel.AROMATICITY_SIMPLE)
        Chem.SetConjugation(mol)
        Chem.SetHybridization(mol)


def canonical_smiles(mol: Chem.Mol) -> str:
    """Return RDKit's canonical SMILES without stereochemistry and without explicit hydrogens.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        With or without explicit hydrogens.

    Returns
    -------
    str
        Read back and written once more, so that it does not depend on how the molecule was made.
    """
    with rdBase.BlockLogs():
        text = Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False)
        again = Chem.MolFromSmiles(text)
    return text if again is None else str(Chem.MolToSmiles(again, isomericSmiles=False))
