"""phisnet-water-ccsdt: energies, forces and dipoles of coupled cluster from one matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.folder import ModelFolder

MODEL = "phisnet-water-ccsdt"
WATERS = Path(__file__).parents[2] / "datasets" / "water_ccsdt_ccpvdz.npz"


def test_energies_forces_and_dipoles_are_those_of_coupled_cluster() -> None:
    """Medians of test geometries: distorted ones make most of the means."""
    records = read_dataset(WATERS).split("test").records[::5]
    calc = PhiSNetCalculator(MODEL, outside="warn")
    atoms = [atoms_from_record(record) for record in records]
    found = calc.predict(atoms, ("energy", "forces", "dipole"))
    pairs = list(zip(found, (record.labels for record in records), strict=True))
    energies = [abs(one["energy"] - labels["energy"] * units.Hartree) for one, labels in pairs]
    forces = [np.abs(one["forces"] - labels["forces"] * units.Hartree / units.Bohr).mean() for one, labels in pairs]
    dipoles = [np.linalg.norm(one["dipole"] - labels["dipole"] * units.Bohr) / units.Debye for one, labels in pairs]
    assert np.median(energies) < 1e-3
    assert np.median(forces) < 5e-3
    assert np.median(dipoles) < 0.02


@pytest.mark.parametrize("level", ["functional", "scf", "response"])
def test_there_is_no_functional_of_coupled_cluster(level: str) -> None:
    with pytest.raises(InputError, match=r"ccsd\(t\)/cc-pvdz"):
        PhiSNetCalculator(MODEL, energy=level)


def test_nothing_but_the_matrix_makes_the_energy() -> None:
    assert ModelFolder.load(MODEL).config.settings["atomic_energies"] is False
