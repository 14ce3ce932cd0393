"""Queries with charges, and queries from files, with GFN2-xTB as the reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.units import kcal, mol
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.reference.levels import TbliteLevel

pytest.importorskip("tblite")


def learn(query: object, folder: Path, max_heavy: int) -> AmonsCalculator:
    with ThreadPoolExecutor(1) as threads:
        return AmonsCalculator.for_query(
            query,
            reference="gfn2-xtb",
            max_heavy=max_heavy,
            database=folder / "amons.db",
            displaced=0,
            executor=threads,
        )


def embedded(smiles: str) -> Chem.Mol:
    made = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(made, randomSeed=1) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(made)
    return made


def as_atoms(made: Chem.Mol) -> Atoms:
    symbols = [atom.GetSymbol() for atom in made.GetAtoms()]
    return Atoms(symbols, made.GetConformer().GetPositions(), info={"charge": Chem.GetFormalCharge(made)})


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
@pytest.mark.parametrize("smiles", ["CCCCC[NH3+]", "CCCCC(=O)[O-]"])
def test_ions_are_learned_from_charged_fragments(smiles: str, tmp_path: Path) -> None:
    query = as_atoms(embedded(smiles))
    calc = learn(query, tmp_path, 5)
    exact = query.copy()
    exact.calc = TbliteLevel("gfn2-xtb").calculator(query)
    error = calc.get_potential_energy(query) - exact.get_potential_energy()
    assert abs(error) < 3.0 * kcal / mol  # 0.5 and 1 measured
    assert {record.charge for record in calc.study.records} == {0, query.info["charge"]}
    assert AmonsCalculator(calc.parameters["model"]).get_potential_energy(query) == pytest.approx(
        calc.get_potential_energy(query), abs=1e-6
    )


def test_what_cannot_be_learned_costs_no_label(labelled: list[str], tmp_path: Path) -> None:
    water = molecule("H2O")
    for query, message in ((water + Atoms("Na", [(0, 0, 4)]), "Leave metal ions out"), ("[NH3+]CCC[O-]", "holds both")):
        with pytest.raises(InputError, match=message):
            learn(query, tmp_path, 3)
    with pytest.raises(InputError, match=r"whole number"):
        learn(Atoms("H2", [(0, 0, 0), (0, 0, 0.74)], info={"charge": "1-"}), tmp_path, 3)
    assert labelled == []


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_query_from_a_file_keeps_bonds_and_coordinates(tmp_path: Path) -> None:
    made = embedded("CSP(=S)(C)OC")
    Chem.MolToMolFile(made, str(tmp_path / "query.mol"))
    calc = learn(str(tmp_path / "query.mol"), tmp_path, 3)
    assert calc.study.query is not None
    np.testing.assert_allclose(calc.study.molecule.positions, calc.study.query.positions)
    orders = sorted(calc.study.molecule.orders.items())
    assert [pair for pair, order in orders if order == 2] == [(2, 3)]
    assert calc.learning_curve()[-1].max_heavy == 3
