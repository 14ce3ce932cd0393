"""One molecule per rule, with and without what the rule refuses."""

from __future__ import annotations

import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from ase_mlwave.models.amons import amons_of


@pytest.mark.parametrize(
    ("query", "refused", "there"),
    [
        pytest.param("[NH3+]CC(=O)[O-]", "[NH3+]C", "C", id="fragments are neutral"),
        pytest.param("CCl", "Cl", "CCl", id="no lone halogen"),
        pytest.param("C=C", "C", "C=C", id="no lone atom with a double bond"),
        pytest.param("OP(=O)(O)O", "O=[PH3]", "O=[PH2]O", id="P loses two neighbours at most"),
        pytest.param("CC(C)=O", "CC", "CC=O", id="carbonyls stay whole"),
        pytest.param("c1ccccc1", "C=CC=CC", "C=CC=C", id="four atoms of a conjugated ring of six"),
        pytest.param("C=CC=C", "CC=C", "C=C", id="atoms keep their hybridisation"),
        pytest.param("c1ccc(-n2cccc2)cc1", "C=Cn1cccc1", "c1cc[nH]c1", id="no cut ring on a ring of five"),
        pytest.param("C1CCN(c2ccccc2)C1", "C=CN1CCCC1", "C1CCNC1", id="nor on its conjugated nitrogen"),
        pytest.param("NC(=O)C1CC1", "CC", "C1CC1", id="atoms keep their strain"),
    ],
)
def test_rule_refuses(query: str, refused: str, there: str) -> None:
    found = amons_of(query)
    assert refused not in found
    assert there in found


def test_rings_whose_atoms_all_conjugate_may_be_cut() -> None:
    assert "C=CC" in amons_of("C=C1CC1")


@pytest.mark.parametrize(("smiles", "crowded", "in_space"), [("c1ccoc1", "C=CC=C", False), ("c1ccsc1", "C=CC=C", True)])
def test_two_caps_on_one_small_atom_collide(smiles: str, crowded: str, in_space: bool) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    assert crowded in amons_of(smiles)
    assert (crowded in amons_of(mol)) == in_space


def test_atoms_that_touch_in_space_make_no_amon() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("C1C2CC1C2"))  # opposite bridgeheads are 1.87 A apart
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    assert amons_of("C1C2CC1C2")[-1] == "C1C2CC1C2"
    assert amons_of(mol)[-1] != "C1C2CC1C2"
