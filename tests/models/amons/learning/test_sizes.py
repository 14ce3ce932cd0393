"""Sizes of amons fit the query; contacts are learned from, or a warning says what is left out."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import s22
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.fragments.perception import read_query
from ase_mlwave.models.amons.learning.sizes import contact_size, usual_max_heavy
from ase_mlwave.reference.calculator import ReferenceCalculator

pytest.importorskip("tblite")
pytest.importorskip("rdkit")

KCAL = 23.0605


def ice() -> Atoms:
    """Return a cell with one molecule of water that touches its own image."""
    atoms = molecule("H2O")
    atoms.rotate(127.75, "x")  # one O-H along z
    atoms.set_cell([8.0, 8.0, 2.85])
    atoms.pbc = True
    return atoms


def folded() -> Atoms:
    """Return butane-1,4-diol with a hydrogen bond."""
    mol = Chem.AddHs(Chem.MolFromSmiles("OCCCCO"))
    rdDistGeom.EmbedMultipleConfs(mol, 60, randomSeed=1)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    shapes = [Atoms(symbols, conformer.GetPositions()) for conformer in mol.GetConformers()]
    return min(shapes, key=lambda atoms: float(atoms.get_distance(0, 5)))


def test_dimer_is_learned_with_its_contact(tmp_path: Path) -> None:
    dimer = s22["Formamide_dimer"]
    exact = dimer.copy()
    exact.calc = ReferenceCalculator("gfn2-xtb")
    options = {"reference": "gfn2-xtb", "database": tmp_path / "amons.db", "displaced": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDomainWarning)
        calc = AmonsCalculator.for_query(dimer, **options)
        error = calc.get_potential_energy(dimer) - exact.get_potential_energy()
    assert abs(error) * KCAL < 1
    with pytest.warns(OutOfDomainWarning, match=r"contacts without a bond .*Write max_contact_heavy=6") as caught:
        without = AmonsCalculator.for_query(dimer, max_contact_heavy=0, **options)
    assert {warning.filename for warning in caught} == {__file__}  # it points to the user's line
    assert not any("." in smiles for smiles in without.extras["amons"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        *((s22["Water_dimer"], 6), (folded(), 4), (ice(), 6)),
        *((molecule("CH3CH2OH"), None), (bulk("Si"), None), ("CCO", None)),
    ],
    ids=["two molecules", "folded", "cell", "nothing touches", "network", "graph"],
)
def test_size_of_contact_amons_fits_the_query(query: object, expected: int | None) -> None:
    assert contact_size(read_query(query), None) == expected
    assert contact_size(read_query(query), 5) == 5


def test_contacts_of_images_and_of_graphs_are_told_of() -> None:
    with pytest.warns(OutOfDomainWarning, match="images of the cell touch"):
        assert contact_size(read_query(ice()), 0) is None
    with pytest.warns(OutOfDomainWarning, match="how the 2 molecules of the query touch is not known.*coordinates"):
        assert contact_size(read_query("O.CO"), None) is None
    assert contact_size(read_query(molecule("CH3CH2OH")), 0) is None  # nothing to tell


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        *(("CCO", 7), ("c1ccccc1", 7), ("c1ccc(cc1)c1ccccc1", 7), ("C1CCC2CCCCC2C1", 7), ("c1ccc2c(c1)CCC2", 7)),
        *(("Oc1cccc2ccccc12", 10), ("NC(Cc1c[nH]c2ccccc12)C(=O)O", 9), ("c1ccc2cc3ccccc3cc2c1", 7)),
    ],
)
def test_amons_hold_fused_aromatic_rings(query: str, expected: int) -> None:
    assert usual_max_heavy(read_query(query)) == expected
