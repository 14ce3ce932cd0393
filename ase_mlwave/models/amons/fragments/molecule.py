"""The molecule that fragments are cut from: elements, one Kekule structure, and coordinates where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdmolops

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.rdkit_graphs import Bond, bond_order, pair_of, rdkit_graph, sanitise
from ase_mlwave.units import BOHR

__all__ = ["Molecule"]

#: Atoms that a message names at most.
_NAMED = 10


@dataclass(frozen=True, eq=False)
class Molecule:
    """Hold a molecular graph with all its hydrogens.

    Parameters
    ----------
    numbers : tuple of int, (N,)
        Atomic numbers.
    charges : tuple of int, (N,)
        Formal charges, elementary charges.
    orders : mapping of (int, int) to int
        Bond orders of one Kekule structure; the smaller index first.
    flat : frozenset of int
        Atoms that RDKit calls sp or sp2.
    aromatic : frozenset of int
        Atoms that RDKit calls aromatic.
    positions : (N, 3) float64 or None
        Bohr; None for a graph without geometry.
    radicals : frozenset of int
        Atoms with an unpaired electron; only crystals have them.
    """

    numbers: tuple[int, ...]
    charges: tuple[int, ...]
    orders: Mapping[Bond, int]
    flat: frozenset[int] = frozenset()
    aromatic: frozenset[int] = frozenset()
    positions: NDArray[np.float64] | None = None
    radicals: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Return the number of atoms, hydrogens too."""
        return len(self.numbers)

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """Bonded atoms of every atom, ascending."""
        bonded: list[list[int]] = [[] for _ in self.numbers]
        for i, j in self.orders:
            bonded[i].append(j)
            bonded[j].append(i)
        return tuple(tuple(sorted(atoms)) for atoms in bonded)

    @cached_property
    def heavy(self) -> tuple[int, ...]:
        """Indices of the atoms that fragments are made of: all but hydrogen, and one of each hydrogen molecule."""
        around = self.neighbours
        return tuple(
            atom
            for atom, number in enumerate(self.numbers)
            if number > 1 or all(self.numbers[other] == 1 and other > atom for other in around[atom])
        )

    @cached_property
    def valences(self) -> tuple[int, ...]:
        """Sum of bond orders of every atom."""
        sums = [0] * len(self)
        for (i, j), order in self.orders.items():
            sums[i] += order
            sums[j] += order
        return tuple(sums)

    @cached_property
    def parts(self) -> tuple[frozenset[int], ...]:
        """Atoms of every molecule, where there are several."""
        return _connected(range(len(self)), self.neighbours)

    @cached_property
    def charged_groups(self) -> tuple[frozenset[int], ...]:
        """Charged atoms that are bonded to one another: both of a nitro group, the nitrogen of an ammonium ion."""
        return _connected((atom for atom, charge in enumerate(self.charges) if charge), self.neighbours)

    def order(self, i: int, j: int) -> int:
        """Return the order of the bond between two atoms, 0 where there is none."""
        return self.orders.get(pair_of(i, j), 0)

    @classmethod
    def from_rdkit(cls, mol: Chem.Mol) -> Molecule:
        """Make a molecule of RDKit's.

        Parameters
        ----------
        mol : rdkit.Chem.Mol
            Sanitised; hydrogens that are implicit are added. A conformer, if there is one, gives the positions
            (and then all hydrogens must be there).

        Returns
        -------
        Molecule
            In RDKit's order of the atoms, added hydrogens last.

        Raises
        ------
        InputError
            If there are coordinates but hydrogens are missing, unpaired electrons, isotopes' placeholders (``*``), or
            bonds that are neither single, double nor triple.
        """
        with_geometry = mol.GetNumConformers() > 0
        if with_geometry:
            _refuse_missing_hydrogens(mol)
        full = Chem.Mol(mol) if with_geometry else Chem.AddHs(mol)
        flat = {Chem.HybridizationType.SP, Chem.HybridizationType.SP2}
        flags = [(atom.GetHybridization() in flat, atom.GetIsAromatic()) for atom in full.GetAtoms()]
        rdmolops.Kekulize(full, clearAromaticFlags=True)
        _refuse_odd_atoms(full)
        positions = np.array(full.GetConformer().GetPositions()) / BOHR if with_geometry else None
        return cls(
            numbers=tuple(atom.GetAtomicNum() for atom in full.GetAtoms()),
            charges=tuple(atom.GetFormalCharge() for atom in full.GetAtoms()),
            orders={pair_of(b.GetBeginAtomIdx(), b.GetEndAtomIdx()): bond_order(b) for b in full.GetBonds()},
            flat=frozenset(i for i, (is_flat, _) in enumerate(flags) if is_flat),
            aromatic=frozenset(i for i, (_, is_aromatic) in enumerate(flags) if is_aromatic),
            positions=positions,
        )

    def to_rdkit(self) -> Chem.Mol:
        """Make RDKit's molecule, sanitised, with explicit hydrogens and the positions (Angstrom) as a conformer.

        Returns
        -------
        rdkit.Chem.Mol
            Atoms in this order.

        Raises
        ------
        rdkit.Chem.MolSanitizeException
            If RDKit does not accept the valences.
        """
        editable = rdkit_graph(self.numbers, self.charges, self.orders)
        sanitise(editable)
        if self.positions is not None:
            conformer = Chem.Conformer(len(self))
            conformer.SetPositions(np.ascontiguousarray(self.positions * BOHR))
            editable.AddConformer(conformer, assignId=True)
        mol: Chem.Mol = editable.GetMol()
        return mol

    def to_record(self, charge: int | None = None, **info: Any) -> Record:
        """Make a record without labels: what is to be labelled.

        Parameters
        ----------
        charge : int, optional
            By default the sum of the formal charges. The spin is 0, or 1 for an odd number of electrons.
        **info
            Entries of its ``info``.

        Returns
        -------
        Record

        Raises
        ------
        InputError
            If there are no positions.
        """
        if self.positions is None:
            raise InputError("a fragment has no geometry without coordinates of the structure.")
        numbers = np.array(self.numbers, dtype=np.int64)
        total = sum(self.charges) if charge is None else charge
        return Record(numbers, self.positions, charge=total, spin=int(numbers.sum() - total) % 2, info=info)


def _connected(atoms: Iterable[int], neighbours: Sequence[Sequence[int]]) -> tuple[frozenset[int], ...]:
    """Split atoms into groups that are connected among themselves."""
    ungrouped, groups = set(atoms), []
    for first in sorted(ungrouped):
        group, border = set(), {first} & ungrouped
        while border:
            group |= border
            border = {other for atom in border for other in neighbours[atom] if other in ungrouped} - group
        ungrouped -= group
        groups.append(frozenset(group))
    return tuple(group for group in groups if group)


def _refuse_missing_hydrogens(mol: Chem.Mol) -> None:
    """Raise ``InputError`` where a geometry has no place for hydrogens that the bonds ask for."""
    lacking = [(f"{a.GetSymbol()}{a.GetIdx()}", a.GetTotalNumHs()) for a in mol.GetAtoms() if a.GetTotalNumHs()]
    if lacking:
        shown = ", ".join(f"{n} on {name}" for name, n in lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
        raise InputError(
            f"the structure lacks {sum(n for _, n in lacking)} hydrogen atoms ({shown}); fragments need all of them "
            "with coordinates. Add them first (for example with rdkit.Chem.AddHs(mol, addCoords=True)), or give those "
            "atoms their charges."
        )


def _refuse_odd_atoms(mol: Chem.Mol) -> None:
    """Raise ``InputError`` for placeholders and unpaired electrons."""
    if mol.GetNumAtoms() == 0:
        raise InputError("the query has no atoms; give a molecule.")
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            raise InputError(f"atom {atom.GetIdx()} of the query is a placeholder (*); give an element.")
        if atom.GetNumRadicalElectrons():
            raise InputError(
                f"atom {atom.GetIdx()} ({chemical_symbols[atom.GetAtomicNum()]}) of the query has unpaired electrons; "
                "fragments are defined for closed shells. Check hydrogens and charges."
            )
