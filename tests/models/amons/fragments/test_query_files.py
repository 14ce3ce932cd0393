from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.io import write
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom, rdForceFieldHelpers

from ase_mlwave.models.amons import amons_of
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.models.amons.fragments.rdkit_graphs import canonical_smiles


def embedded(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    return mol


def smiles_of(query: object) -> str:
    return canonical_smiles(molecule_from(query).to_rdkit())


def mol_file(folder: Path, smiles: str, charges: str | None = "") -> Path:
    """Write a MOL file with other charges (an ``M  CHG`` line without its beginning), or None for none."""
    lines = Chem.MolToMolBlock(embedded(smiles)).splitlines()
    if charges != "":
        lines = [line for line in lines if not line.startswith("M  CHG")]
    if charges:
        lines.insert(len(lines) - 1, f"M  CHG{charges}")
    path = folder / "query.mol"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["mol", "pdb"])
@pytest.mark.parametrize("smiles", ["CCC(=O)[O-]", "C[NH2+]CC", "CC[N+](=O)[O-]", "[NH3+]CCC(=O)[O-]"])
def test_files_keep_charges_and_coordinates(tmp_path: Path, smiles: str, suffix: str) -> None:
    made = embedded(smiles)
    path = str(tmp_path / f"query.{suffix}")
    (Chem.MolToMolFile if suffix == "mol" else Chem.MolToPDBFile)(made, path)
    read = molecule_from(path)
    assert read.positions is not None
    assert sum(read.charges) == Chem.GetFormalCharge(made)
    assert smiles_of(path) == canonical_smiles(made)


@pytest.mark.parametrize("charges", [None, "  1   2   1", "  1   4  -1"])
def test_lost_charges_of_a_nitro_group_are_found_anew(tmp_path: Path, charges: str | None) -> None:
    path = mol_file(tmp_path, "C[N+](=O)[O-]", charges)
    with pytest.warns(UserWarning, match=r"do not fit its atoms.*it is C\[N\+\]\(=O\)\[O-\] with charge 0"):
        read = molecule_from(path)
    assert read.positions is not None
    assert sum(read.charges) == 0


def test_pentavalent_nitro_group_is_read(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(embedded("C[N+](=O)[O-]")).replace("  2  4  1  0", "  2  4  2  0")
    path = tmp_path / "nitro.mol"
    path.write_text("\n".join(line for line in block.splitlines() if not line.startswith("M  CHG")) + "\n")
    assert smiles_of(path) == "C[N+](=O)[O-]"


@pytest.mark.parametrize(("smiles", "charges"), [("CC(=O)[O-]", None), ("CCO", "")])
def test_missing_hydrogens_are_not_taken_for_charges(tmp_path: Path, smiles: str, charges: str | None) -> None:
    path = mol_file(tmp_path, smiles, charges)
    if charges == "":
        Chem.MolToMolFile(Chem.RemoveHs(embedded(smiles)), str(path))
    with pytest.raises(InputError, match=r"lacks \d hydrogen atoms \(.*on O\d\).*or give those atoms their charges"):
        molecule_from(path)


def test_drawing_that_claims_three_dimensions_is_a_graph(tmp_path: Path) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CC(=O)Nc1ccc(O)cc1"))
    rdDepictor.Compute2DCoords(mol)
    mol.GetConformer().Set3D(True)
    path = tmp_path / "flat.mol"
    Chem.MolToMolFile(mol, str(path))
    with pytest.warns(UserWarning, match="flat drawing: only its bonds are used"):
        assert molecule_from(path).positions is None


def test_flat_molecule_that_claims_two_dimensions_keeps_its_geometry() -> None:
    atoms = molecule("C6H6")
    mol = Chem.AddHs(Chem.MolFromSmiles("c1ccccc1"))
    rdDepictor.Compute2DCoords(mol)
    order = [*range(6), *range(6, 12)]
    mol.GetConformer().SetPositions(np.ascontiguousarray(atoms.positions[order]))
    assert not mol.GetConformer().Is3D()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert molecule_from(mol).positions is not None


@pytest.mark.parametrize(
    ("factor", "message"),
    [(0.1, "coincide.*in Angstrom"), (1.89, r"1.\d\d times as long as bonds are.*not in Angstrom")],
)
def test_other_units_are_noticed(factor: float, message: str) -> None:
    mol = embedded("CCO")
    mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() * factor)
    with pytest.raises(InputError, match=message):
        molecule_from(mol)


def test_bond_between_atoms_that_are_far_apart_is_refused() -> None:
    mol = embedded("CCO")
    positions = mol.GetConformer().GetPositions()
    positions[8] += 5.0  # the hydrogen of the hydroxyl group
    mol.GetConformer().SetPositions(positions)
    with pytest.raises(InputError, match=r"a bond O2-H8, but they are \d\.\d\d A apart"):
        molecule_from(mol)


def pdb_lines(folder: Path) -> list[str]:
    Chem.MolToPDBFile(embedded("CCO"), str(folder / "plain.pdb"))
    return (folder / "plain.pdb").read_text().splitlines()


def test_pdb_file_with_several_models_is_refused(tmp_path: Path) -> None:
    atoms = [line for line in pdb_lines(tmp_path) if line.startswith("HETATM")]
    path = tmp_path / "models.pdb"
    path.write_text("\n".join(["MODEL        1", *atoms, "ENDMDL", "MODEL        2", *atoms, "ENDMDL", "END", ""]))
    with pytest.raises(InputError, match=r"has 2 models.*ase.io.read\('models.pdb', index=0\)"):
        molecule_from(path)
    path.write_text("\n".join(["MODEL        1", *atoms, "ENDMDL", "END", ""]))
    assert smiles_of(path) == "CCO"


def test_pdb_file_with_alternate_locations_is_refused(tmp_path: Path) -> None:
    lines = pdb_lines(tmp_path)
    path = tmp_path / "alternate.pdb"
    path.write_text("\n".join([lines[0][:16] + "A" + lines[0][17:], lines[0][:16] + "B" + lines[0][17:], *lines[1:]]))
    with pytest.raises(InputError, match=r"alternate locations \(A, B\)"):
        molecule_from(path)


def test_pdb_file_without_hydrogens_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.pdb"
    Chem.MolToPDBFile(Chem.RemoveHs(embedded("CC(=O)Oc1ccccc1C(=O)O")), str(path))
    with pytest.raises(InputError, match=r"no hydrogen atoms at all\. Add the missing hydrogen atoms"):
        molecule_from(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.pdb", "HEADER\nEND\n", "has no atoms"),
        ("empty.sdf", "", "has 0 molecules"),
        ("broken.mol", "no\nmolecule\n\n", "cannot be read by RDKit"),
        ("heavy.xyz", "2\n\nD 0 0 0\nD 0 0 0.74\n", "'D' is not the symbol of an element"),
    ],
)
def test_files_without_a_molecule_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        molecule_from(tmp_path / name)


def test_crystal_in_a_file_is_a_crystal(tmp_path: Path) -> None:
    up, down = (
        [(0, 0, 0.42), (0, 0.88, 1.07), (0, -0.88, 1.07)],
        [(1.27, 0, -0.42), (1.27, 0.88, -1.07), (1.27, -0.88, -1.07)],
    )
    chain = Atoms("CH2CH2", [*up, *down], cell=[2.54, 9, 9], pbc=True)
    write(tmp_path / "chain.cif", chain)
    assert amons_of(tmp_path / "chain.cif", 3) == ("C", "CC", "CCC")
