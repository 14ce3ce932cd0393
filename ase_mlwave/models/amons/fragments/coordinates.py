"""A molecule from coordinates: which atoms are bonded, and the Lewis structure that their distances fit best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols, covalent_radii
from rdkit import Chem

from ase_mlwave.models.amons.fragments.bond_orders import (
    ELEMENTS,
    Edge,
    LewisStructure,
    NoLewisStructureError,
    lewis_structure,
)
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond, canonical_smiles, pair_of, rdkit_graph, sanitise
from ase_mlwave.systems.charge_spin import charge_and_spin
from ase_mlwave.systems.neighbours import near_points

__all__ = ["LONGEST_BOND", "are_bonded", "bonded_pairs", "molecule_from_coordinates", "total_charge"]

#: In sums of covalent radii: bonds up to the second number; between the first and the third they are not certain.
_LIMITS = (1.25, 1.27, 1.29)
#: Beyond this, in sums of covalent radii, no atoms are bonded.
LONGEST_BOND = _LIMITS[2]
#: The same of two carbon atoms (1.78, 1.82, 1.85 A): the bridgeheads of bicyclo[1.1.1]pentane are 1.87 A apart.
_CARBON_LIMITS = (1.17, 1.20, 1.22)
#: Order of a bond -> sums of covalent radii that it does not exceed (C=C 1.47 A: three standard deviations at 300 K).
_LONGEST_MULTIPLE = {2: 0.97, 3: 0.9}
#: Two hydrogen atoms this near are a molecule, Angstrom.
_LONGEST_HYDROGEN = 0.9
#: The shortest bonds, in sums of covalent radii (0.77 of N2 at rest).
_SHORTEST = 0.6
#: Total charges that are tried where the given one does not fit.
_CHARGES = (0, -1, 1, -2, 2, -3, 3)
_BONDS_SHOWN, _ATOMS_SHOWN = 60, 10


def molecule_from_coordinates(
    atoms: Atoms, bonds: Sequence[Bond] | None = None, *, charge: int | None = 0
) -> tuple[Molecule, int]:
    """Find bonds, bond orders and formal charges of a molecule.

    Parameters
    ----------
    atoms : Atoms
        A molecule, or several.
    bonds : sequence of (int, int), optional
        Atoms that are bonded; by default those that are near enough (`bonded_pairs`).
    charge : int or None
        Total charge, elementary charges; None for the smallest one that fits.

    Returns
    -------
    molecule : Molecule
        In the order of the atoms, with positions.
    charge : int
        Its total charge.

    Raises
    ------
    InputError
        If bonds are uncertain, or atoms lack bonds at this charge (the message says which, which charge would do, and
        the bonds found).

    Notes
    -----
    Of all Lewis structures the one with the fewest charges, see
    `ase_mlwave.models.amons.fragments.bond_orders`; it does not depend on the order of the atoms
    (``test_bonds_do_not_depend_on_the_order_of_atoms``).
    """
    _refuse_unknown_elements(atoms)
    pairs = _certain_bonds(atoms) if bonds is None else bonds
    radii = covalent_radii[atoms.numbers]
    edges = [Edge(i, j, _length(atoms, (i, j)) / float(radii[i] + radii[j])) for i, j in pairs]
    structure = _least_charged(atoms, edges, charge)
    mol = _rdkit_molecule(atoms, edges, structure)
    if charge is not None:
        _refuse_strange_charges(mol, atoms, charge)
    if bonds is None:
        _refuse_long_multiple_bonds(mol, atoms)
    return Molecule.from_rdkit(mol), sum(structure.charges)


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
    bonded, uncertain = [], []
    for i, j in near_points(atoms.positions, LONGEST_BOND * 2.0 * float(covalent_radii[atoms.numbers].max())):
        near, certain = are_bonded(int(atoms.numbers[i]), int(atoms.numbers[j]), _length(atoms, (i, j)))
        if near:
            bonded.append((i, j))
        if not certain:
            uncertain.append((i, j))
    return tuple(bonded), tuple(uncertain)


def are_bonded(one: int, other: int, length: float) -> tuple[bool, bool]:
    """Tell whether two atoms are bonded, in a molecule or a crystal.

    Parameters
    ----------
    one, other : int
        Atomic numbers.
    length : float
        Their distance, Angstrom.

    Returns
    -------
    bonded : bool
        Whether they are nearer than 1.27 sums of covalent radii, 1.20 where both are carbon.
    certain : bool
        Whether the distance is not too close to that limit.
    """
    if length < _LONGEST_HYDROGEN:
        return True, True
    ratio = length / float(covalent_radii[one] + covalent_radii[other])
    low, limit, high = _CARBON_LIMITS if one == other == 6 else _LIMITS
    return ratio < limit, not low < ratio < high


def total_charge(atoms: Atoms) -> int:
    """Read the charge as all readers do (`ase_mlwave.systems.charge_spin`), and refuse unpaired electrons.

    Parameters
    ----------
    atoms : Atoms
        The query.

    Returns
    -------
    int
        Elementary charges.

    Raises
    ------
    InputError
        If it is not a whole number or not clear, or there are unpaired electrons.
    """
    try:
        charge, spin = charge_and_spin(atoms.info)
    except ValueError as error:
        raise InputError(f"the query: {error}") from None
    if spin:
        raise InputError("the query has unpaired electrons (info['spin']); fragments are defined for closed shells.")
    return charge


def _refuse_unknown_elements(atoms: Atoms) -> None:
    unknown = sorted({int(number) for number in atoms.numbers} - ELEMENTS)
    if unknown:
        known = ", ".join(chemical_symbols[number] for number in sorted(ELEMENTS))
        raise InputError(
            f"the query has {', '.join(chemical_symbols[number] for number in unknown)}, but bonds are found in "
            f"coordinates for {known} only: amons are fragments of covalent molecules. Leave metal ions out, or give "
            "an SDF file or an RDKit molecule, which say what is bonded."
        )


def _certain_bonds(atoms: Atoms) -> tuple[Bond, ...]:
    """Return the bonds; raise ``InputError`` where a distance lies between that of a bond and of none."""
    bonded, uncertain = bonded_pairs(atoms)
    radii = covalent_radii[atoms.numbers]
    squeezed = [(i, j) for i, j in bonded if _length(atoms, (i, j)) < _SHORTEST * float(radii[i] + radii[j])]
    if squeezed:
        raise InputError(
            f"these atoms are nearer than any bond is short: {_listed(squeezed, atoms)}. Check the coordinates (in "
            "Angstrom, molecules apart)."
        )
    if uncertain:
        raise InputError(
            f"it is not certain whether these atoms are bonded: {_listed(uncertain, atoms)}. Give an SDF file or "
            f"an RDKit molecule that says so. Bonds found: {_listed(bonded, atoms) or 'none'}."
        )
    return bonded


def _least_charged(atoms: Atoms, edges: Sequence[Edge], charge: int | None) -> LewisStructure:
    """Find the Lewis structure, or raise ``InputError`` that says what is missing and which charge would do."""
    numbers = atoms.numbers.tolist()
    bonds_found = f"Bonds found: {_listed([(edge.i, edge.j) for edge in edges], atoms) or 'none'}."
    reason, unpaired = "", ""
    try:
        best = _best_charge(atoms, edges) if charge is None else None
        structure = best or lewis_structure(numbers, edges, charge or 0)
        if not any(structure.unpaired):
            return structure
        lacking = [atom for atom, missing in enumerate(structure.unpaired) if missing]
        unpaired = _named(lacking, atoms)
        reason = f"these atoms lack a bond or more: {unpaired}"
    except NoLewisStructureError as error:
        reason = str(error)
    advice = _advice(atoms, edges, charge, unpaired)
    at_charge = "" if charge is None else f" with charge {charge}"
    raise InputError(f"no bond orders fit {atoms.get_chemical_formula()}{at_charge}: {reason}. {advice} {bonds_found}")


def _advice(atoms: Atoms, edges: Sequence[Edge], charge: int | None, unpaired: str) -> str:
    """Say what to do about a molecule without a Lewis structure."""
    hydrogens = "Add the missing hydrogen atoms (for example with rdkit.Chem.AddHs(mol, addCoords=True) or Open Babel)"
    if unpaired and 1 not in atoms.numbers:
        return f"The query has no hydrogen atoms at all. {hydrogens}."
    other = _best_charge(atoms, edges)
    if other is not None and sum(other.charges) != charge:
        total = sum(other.charges)
        try:
            smiles = canonical_smiles(_rdkit_molecule(atoms, edges, other))
        except InputError:
            return "Check the structure."
        return f"With charge {total} it is {smiles}: set atoms.info['charge'] = {total}, or check the hydrogens."
    odd = (int(atoms.numbers.sum()) - (charge or 0)) % 2
    parity = "Its number of electrons is odd. " if odd else ""
    return f"{parity}{hydrogens}, set the charge (atoms.info['charge']), or give an SDF file with the bonds."


def _best_charge(atoms: Atoms, edges: Sequence[Edge]) -> LewisStructure | None:
    """Find the smallest charge with which no atom lacks a bond, and none has a charge that it bears badly."""
    for charge in _CHARGES:
        try:
            structure = lewis_structure(atoms.numbers.tolist(), edges, charge)
        except NoLewisStructureError:
            continue
        badly = any(q and (z == 6 or (z == 8 and q > 0)) for z, q in zip(atoms.numbers, structure.charges, strict=True))
        if not badly and not any(structure.unpaired):
            return structure
    return None


def _rdkit_molecule(atoms: Atoms, edges: Sequence[Edge], structure: LewisStructure) -> Chem.Mol:
    """Make RDKit's molecule, sanitised, with the positions as a conformer."""
    orders = {(edge.i, edge.j): order for edge, order in zip(edges, structure.orders, strict=True)}
    mol = rdkit_graph(atoms.numbers, structure.charges, orders)
    conformer = Chem.Conformer(len(atoms))
    conformer.SetPositions(np.ascontiguousarray(atoms.positions, dtype=np.float64))
    mol.AddConformer(conformer, assignId=True)
    try:
        sanitise(mol)
    except (ValueError, RuntimeError) as error:
        bonds = _listed([(edge.i, edge.j) for edge in edges], atoms) or "none"
        raise InputError(
            f"RDKit does not accept the bonds found in {atoms.get_chemical_formula()}: {error}. Give an SDF file or an "
            f"RDKit molecule with the bonds. Bonds found: {bonds}."
        ) from error
    molecule: Chem.Mol = mol.GetMol()
    return molecule


def _refuse_strange_charges(mol: Chem.Mol, atoms: Atoms, charge: int) -> None:
    """Raise ``InputError`` for charged carbon atoms that the total charge does not ask for: a wrong charge."""
    charged = [atom for atom in mol.GetAtoms() if atom.GetFormalCharge()]
    balanced = sum(abs(atom.GetFormalCharge()) for atom in charged) <= abs(charge)
    for atom in charged:
        opposite = any(other.GetFormalCharge() * atom.GetFormalCharge() < 0 for other in atom.GetNeighbors())
        if atom.GetAtomicNum() == 6 and not opposite and not balanced:
            bare = "" if 1 in atoms.numbers else "The query has no hydrogen atoms at all. "
            raise InputError(
                f"with charge {charge} the best bonds for {atoms.get_chemical_formula()} are those of "
                f"{canonical_smiles(mol)}, with a charge on carbon atom {atom.GetIdx()}. {bare}Check "
                f"atoms.info['charge'] and hydrogens, or give an SDF file. Bonds found: {_listed_bonds(mol, atoms)}."
            )


def _refuse_long_multiple_bonds(mol: Chem.Mol, atoms: Atoms) -> None:
    """Raise ``InputError`` for double and triple bonds as long as single ones: missing hydrogens."""
    kekulised = Chem.Mol(mol)
    Chem.Kekulize(kekulised, clearAromaticFlags=False)
    radii = covalent_radii[atoms.numbers]
    for bond in kekulised.GetBonds():
        pair, order = pair_of(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), bond.GetBondTypeAsDouble()
        charged = bond.GetBeginAtom().GetFormalCharge() or bond.GetEndAtom().GetFormalCharge()
        if order == 1 or bond.GetIsAromatic() or charged:
            continue  # aromatic bonds, and those of ozone, lie between single and double
        if _length(atoms, pair) > _LONGEST_MULTIPLE[int(order)] * float(radii[[*pair]].sum()):
            raise InputError(
                f"the best bonds are those of {canonical_smiles(mol)}, but the bond {_listed([pair], atoms)} is too "
                f"long for order {int(order)}. Check hydrogens and charge, or give an SDF file. "
                f"Bonds found: {_listed_bonds(mol, atoms)}."
            )


def _listed_bonds(mol: Chem.Mol, atoms: Atoms) -> str:
    return _listed(sorted(pair_of(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()), atoms) or "none"


def _listed(pairs: Sequence[Bond], atoms: Atoms) -> str:
    """Show bonds for a message."""
    shown = [
        f"{atoms.symbols[i]}{i}-{atoms.symbols[j]}{j} ({_length(atoms, (i, j)):.2f} A)" for i, j in pairs[:_BONDS_SHOWN]
    ]
    more = f" and {len(pairs) - _BONDS_SHOWN} more" if len(pairs) > _BONDS_SHOWN else ""
    return ", ".join(shown) + more


def _named(places: Sequence[int], atoms: Atoms) -> str:
    shown = ", ".join(f"{atoms.symbols[atom]}{atom}" for atom in places[:_ATOMS_SHOWN])
    return shown + (f" and {len(places) - _ATOMS_SHOWN} more" if len(places) > _ATOMS_SHOWN else "")


def _length(atoms: Atoms, pair: Bond) -> float:
    """Return the distance of two atoms, Angstrom."""
    return float(np.linalg.norm(atoms.positions[pair[0]] - atoms.positions[pair[1]]))
