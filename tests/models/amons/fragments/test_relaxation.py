from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from rdkit import Chem

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.models.amons import amon_geometries, relax_amons
from ase_mlwave.units import HARTREE_PER_BOHR


class Exploding(Calculator):
    """Push all atoms apart."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        centred = self.atoms.positions - self.atoms.positions.mean(axis=0)
        self.results = {"energy": -0.5 * float((centred**2).sum()), "forces": centred}


class Resting(Exploding):
    """Leave all atoms where they are."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


def test_relaxed_amons_have_small_forces_and_their_graph() -> None:
    records = amon_geometries(molecule("CH3CH2OH"), 2)
    relaxed = relax_amons(records, EMT(), largest_force=1e-3, steps=200)
    assert relaxed
    assert {r.info["smiles"] for r in relaxed} <= {r.info["smiles"] for r in records}
    for record in relaxed:
        atoms = atoms_from_record(record)
        atoms.calc = EMT()
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 1e-3 * HARTREE_PER_BOHR * (1 + 1e-6)


def test_amon_that_falls_apart_is_dropped() -> None:
    records = amon_geometries("CCO", 2)
    assert relax_amons(records, Exploding(), steps=30) == ()
    assert len(relax_amons(records, Resting())) == len(records)


def test_conformers_that_become_one_are_kept_once() -> None:
    (methane,) = amon_geometries("C", 1)
    assert len(relax_amons([methane, methane], Resting())) == 1


@pytest.mark.parametrize("smiles", ["C", "CCO"])
def test_relaxation_keeps_what_a_record_says(smiles: str) -> None:
    records = amon_geometries(Chem.MolFromSmiles(smiles), 1)
    for before, after in zip(records, relax_amons(records, Resting()), strict=True):
        np.testing.assert_allclose(after.positions, before.positions, rtol=0, atol=1e-12)
        assert (after.info, after.spin, after.charge) == (before.info, before.spin, before.charge)
