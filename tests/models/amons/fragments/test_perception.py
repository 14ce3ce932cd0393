from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.models.amons import amons_of
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.models.amons.fragments.rdkit_graphs import canonical_smiles
from ase_mlwave.units import BOHR


def smiles_of(query: object) -> str:
    return canonical_smiles(molecule_from(query).to_rdkit())


def embedded(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    return mol


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        ("CH3CONH2", "CC(N)=O"), ("C5H5N", "c1ccncc1"), ("CH3NO2", "C[N+](=O)[O-]"), ("C2H6SO", "CS(C)=O"),
        ("CS2", "S=C=S"), ("bicyclobutane", "C1C2CC12"), ("CO", "[C-]#[O+]"), ("H2CCO", "C=C=O"),
        ("Si2H6", "[SiH3][SiH3]"), ("O3", "O=[O+][O-]"), ("H2", "[H][H]"), ("F2", "FF"), ("ClNO", "O=NCl"),
    ],
)  # fmt: skip
def test_bonds_are_found_in_coordinates(name: str, smiles: str) -> None:
    assert smiles_of(molecule(name)) == smiles
    assert smiles_of(record_from_atoms(molecule(name))) == smiles


def test_charge_decides_about_bonds() -> None:
    atoms = Atoms("NH4", [(0, 0, 0), *(0.59 * np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]))])
    atoms.info["charge"] = 1
    assert smiles_of(atoms) == "[NH4+]"
    atoms.info = {"total_charge": 1}  # read as everywhere
    assert smiles_of(atoms) == "[NH4+]"
    atoms.info["charge"] = 0
    with pytest.raises(InputError, match="disagree"):
        molecule_from(atoms)
    atoms.info = {}
    with pytest.raises(InputError, match=r"charge 0.*N0-H1 \(1.02 A\)"):
        molecule_from(atoms)


def test_atoms_that_lack_hydrogens_are_named_with_the_bonds() -> None:
    atoms = molecule("C3H8")
    del atoms[[5, 9]]  # one hydrogen of either end
    with pytest.raises(InputError, match=r"lack a bond or more: C1, C2\. Add the missing hydrogen.*Bonds found: C0-C1"):
        molecule_from(atoms)


def test_charge_that_fits_is_named() -> None:
    atoms = molecule("HCOOH")
    del atoms[[3]]  # the acid's hydrogen
    with pytest.raises(InputError, match=r"lack a bond.*With charge -1 it is O=C\[O-\]: set atoms"):
        molecule_from(atoms)
    atoms.info["charge"] = -1
    assert smiles_of(atoms) == "O=C[O-]"


@pytest.mark.parametrize("charge", ["-1=", None, 0.5, float("nan")])
def test_charge_that_is_no_number_is_refused(charge: object) -> None:
    with pytest.raises(InputError, match="whole number"):
        molecule_from(Atoms("H2", [(0, 0, 0), (0, 0, 0.74)], info={"charge": charge}))


@pytest.mark.parametrize(
    "smiles",
    [
        "Cc1ccc([N+](=O)[O-])cc1[N+](=O)[O-]", "C[N+](=O)[O-]", "CCON=O", "CO[N+](=O)[O-]", "[N-]=[N+]=NCc1ccncc1",
        "CC(C)=[N+]=[N-]", "CS(=O)(=O)Nc1ccccc1", "O=S1(=O)CCCC1", "CCOP(=S)(OCC)Oc1ccccc1", "CP(=O)(OC)OC",
        "C[N+](C)(C)[O-]", "Cc1cccc[n+]1[O-]", "C/C=[N+](/C)[O-]", "CC#N", "CC[N+]#[C-]", "C#[N+][O-]", "N#[N+][O-]",
        "CS(C)(=N)=O", "CP(C)(C)=C", "OB(O)c1ccccc1", "C[Si](C)(C)C#C", "O=C1C=CC(=O)C=C1", "C1=CC2=CC=CC2=C1",
        "O=c1cc[nH]c(=O)[nH]1", "CN1C=CN(C)C1=S", "c1ccc2c(c1)[nH]c1ccccc12", "[NH3+]CCC(=O)[O-]", "CC(=O)[O-]",
        "C[NH3+]", "NC(=[NH2+])N", "C[N+](C)(C)CCO", "[O-]c1ccccc1", "CCS(=O)(=O)[O-]", "COP(=O)([O-])OC",
        "Cn1cc[n+](C)c1", "C[S+](C)C", "C[P+](C)(C)C", "[O-]C(=O)C=CC(=O)[O-]", "F[B-](F)(F)F", "c1cc[cH-]c1",
        "c1ccc[cH+]cc1",
        "N#CC[S-]", "[O-][n+]1ccccc1-c1cccc[n+]1[O-]", "CN=[N+](C)[O-]", "C=C=C=C", "O=C=C=C=O",
    ],
)  # fmt: skip
def test_bonds_do_not_depend_on_the_order_of_atoms(smiles: str) -> None:
    mol = embedded(smiles)
    whole = Atoms([atom.GetSymbol() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions())
    rng = np.random.default_rng(3)
    for _ in range(4):
        shuffled = whole[rng.permutation(len(whole))]
        shuffled.info["charge"] = Chem.GetFormalCharge(mol)
        assert smiles_of(shuffled) == Chem.CanonSmiles(smiles, useChiral=0)


def test_ends_of_a_hot_azide_are_what_they_were_at_rest() -> None:
    mol = embedded("CCN=[N+]=[N-]")
    cold = Atoms([atom.GetSymbol() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions())
    for seed in range(10):
        hot = cold.copy()
        hot.rattle(0.04, seed=seed)
        assert smiles_of(hot) == "CCN=[N+]=[N-]"


@pytest.mark.parametrize("symbol", ["Na", "Fe"])
def test_metals_are_refused_in_coordinates(symbol: str) -> None:
    with pytest.raises(InputError, match=f"query has {symbol}, but bonds are found.*Leave metal ions out"):
        molecule_from(molecule("H2O") + Atoms(symbol, [(3, 3, 3)]))


def test_query_without_hydrogens_is_told_so() -> None:
    atoms = molecule("CH3CH2OH")
    with pytest.raises(InputError, match=r"\[C\+\]#C\[O-\], with a charge on carbon atom 0.*no hydrogen atoms at all"):
        molecule_from(atoms[atoms.numbers > 1])


def test_bridging_hydrogen_is_refused() -> None:
    atoms = Atoms("FHF", [(0, 0, -1.05), (0, 0, 0), (0, 0, 1.05)], info={"charge": -1})
    with pytest.raises(InputError, match=r"more neighbours than they have bonds to give: H1 \(2\)"):
        molecule_from(atoms)


def test_atoms_nearer_than_bonds_are_refused() -> None:
    atoms = molecule("CO")
    atoms.set_distance(0, 1, 0.8)
    with pytest.raises(InputError, match=r"nearer than any bond is short: O0-C1 \(0.80 A\)"):
        molecule_from(atoms)


def test_coinciding_atoms_are_refused() -> None:
    atoms = molecule("H2O") + Atoms("O", [molecule("H2O").positions[0] + 0.1])
    with pytest.raises(InputError, match=r"atoms 0 and 3 of the query coincide \(0.17 A apart\)"):
        molecule_from(atoms)


def test_missing_hydrogens_show_in_the_length_of_a_double_bond() -> None:
    atoms = molecule("C2H6")
    del atoms[[2, 5]]
    with pytest.raises(InputError, match=r"C=C, but the bond C0-C1 \(1.52 A\) is too long for order 2"):
        molecule_from(atoms)


def test_uncertain_bond_is_an_error_that_shows_it() -> None:
    atoms = molecule("H2O")
    atoms.set_distance(0, 1, 1.23, fix=0)
    with pytest.raises(InputError, match=r"not certain.*O0-H1 \(1.23 A\)"):
        molecule_from(atoms)


def test_positions_are_in_bohr_and_in_the_order_of_the_query() -> None:
    atoms = molecule("CH3CH2OH")
    read = molecule_from(atoms)
    assert read.numbers == tuple(atoms.numbers)
    np.testing.assert_allclose(read.positions * BOHR, atoms.positions, rtol=0, atol=1e-12)


@pytest.mark.parametrize("suffix", ["sdf", "mol", "pdb", "xyz"])
def test_files_give_the_same_amons(tmp_path: Path, suffix: str) -> None:
    mol = embedded("CC(=O)NCC(N)=O")
    path = tmp_path / f"query.{suffix}"
    writers = {"sdf": Chem.MolToMolFile, "mol": Chem.MolToMolFile, "pdb": Chem.MolToPDBFile, "xyz": Chem.MolToXYZFile}
    writers[suffix](mol, str(path))
    assert amons_of(path) == amons_of(str(path)) == amons_of(mol)


def test_peptide_in_a_pdb_file_is_read_with_residue_templates(tmp_path: Path) -> None:
    peptide = Chem.AddHs(Chem.MolFromSequence("GF"), addResidueInfo=True)
    assert rdDistGeom.EmbedMolecule(peptide, randomSeed=1) == 0
    Chem.MolToPDBFile(peptide, str(tmp_path / "gf.pdb"))
    assert smiles_of(tmp_path / "gf.pdb") == canonical_smiles(peptide)


def test_flat_drawing_is_a_graph() -> None:
    mol = Chem.MolFromSmiles("c1ccoc1")
    rdDepictor.Compute2DCoords(mol)
    assert molecule_from(mol).positions is None
    assert amons_of(mol) == amons_of("c1ccoc1")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("C1CC", "no valid SMILES"),
        ("", "no valid SMILES"),
        ("nowhere.sdf", "no file 'nowhere.sdf'"),
        (3.0, "cannot be a float"),
        ("[CH3]", "unpaired electrons"),
        ("*C", "placeholder"),
        ("C->[Pt]", "DATIVE"),
        (Atoms(), "no atoms"),
        (bulk("Si"), "periodic"),
        (Atoms("H2", [(0, 0, 0), (np.nan, 0, 0)]), "not finite"),
        (Atoms("CH3", [(0, 0, 0), (1.1, 0, 0), (0, 1.1, 0), (0, 0, 1.1)], info={"spin": 1}), "unpaired electrons"),
    ],
)
def test_what_cannot_be_read_is_refused(query: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        molecule_from(query)


def test_missing_hydrogens_are_refused_where_there_are_coordinates() -> None:
    with pytest.raises(InputError, match="lacks 6 hydrogen atoms"):
        molecule_from(Chem.RemoveHs(embedded("CCO")))


def test_several_molecules_in_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.sdf"
    with Chem.SDWriter(str(path)) as writer:
        writer.write(embedded("C"))
        writer.write(embedded("O"))
    with pytest.raises(InputError, match="has 2 molecules"):
        molecule_from(path)


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.xyz"
    path.write_text("this is no structure\n")
    with pytest.raises(InputError, match="ASE cannot read"):
        molecule_from(path)


def test_query_is_left_as_it_is() -> None:
    atoms = molecule("C6H6")
    before = atoms.copy()
    amons_of(atoms)
    assert atoms == before


@pytest.mark.parametrize("name", ["H2O", "CH3CH2OH", "C4H4O", "CH3SCH3"])
def test_molecule_survives_a_round_trip_through_rdkit(name: str) -> None:
    read = molecule_from(molecule(name))
    again = molecule_from(read.to_rdkit())
    assert (again.numbers, again.charges) == (read.numbers, read.charges)
    assert dict(again.orders).keys() == dict(read.orders).keys()
    np.testing.assert_allclose(again.positions, read.positions, rtol=0, atol=1e-12)
