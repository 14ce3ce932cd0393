from __future__ import annotations

import pytest
from rdkit import Chem

from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.models.amons.fragments.rules.bonding import perceived_orders, resonant_atoms


def kekule_by_rdkit(molecule: Molecule) -> frozenset[int]:
    """Atoms whose bonds differ between the Kekule structures that RDKit enumerates."""
    seen: dict[int, set[tuple[int, ...]]] = {}
    mol = Chem.RemoveHs(molecule.to_rdkit())
    for structure in Chem.ResonanceMolSupplier(mol, Chem.KEKULE_ALL):
        for atom in structure.GetAtoms():
            orders = tuple(int(bond.GetBondTypeAsDouble()) for bond in atom.GetBonds())
            seen.setdefault(atom.GetIdx(), set()).add(orders)
    return frozenset(atom for atom, orders in seen.items() if len(orders) > 1)


@pytest.mark.parametrize(
    "smiles",
    ["c1ccccc1", "c1ccoc1", "C=CC=C", "c1ccc2ccccc2c1", "c1ccc2[nH]ccc2c1", "C1=CC2=CC=CC=CC2=C1", "Cc1ccccc1C=C"],
)
def test_resonant_atoms_are_those_of_kekule_structures(smiles: str) -> None:
    molecule = molecule_from(smiles)
    assert resonant_atoms(molecule) == kekule_by_rdkit(molecule)


def test_bonds_are_perceived_anew() -> None:
    benzene = molecule_from("C1=CC=CC=C1")
    assert perceived_orders(benzene, frozenset({1, 2, 3, 4})) == {(1, 2): 2, (2, 3): 1, (3, 4): 2}
    assert perceived_orders(benzene, frozenset({1, 2, 3})) is None


def test_atoms_with_two_excess_bonds_keep_all_of_them() -> None:
    allene = molecule_from("C=C=C")
    assert perceived_orders(allene, frozenset({0, 1})) is None
    assert perceived_orders(molecule_from("CC#N"), frozenset({1, 2})) == {(1, 2): 3}
