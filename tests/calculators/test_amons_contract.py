"""The contract suite on `AmonsCalculator`, and its laws for cells, with a small model of a toy level of theory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.folder import ModelFolder, TrainingData
from tests.calculators.contract import CalculatorContract
from tests.models.amons.springs import distorted

FREE = {1: -0.5, 6: -37.8, 7: -54.4, 8: -75.0, 14: -289.0}


def fitted(folder: Any, formulas: tuple[str, ...], thresholds: dict[str, float] | None = None, seeds: int = 2) -> str:
    records = [record for formula in formulas for record in distorted(formula, range(seeds))]
    model = fit_amons(records, "springs", FitSettings(penalty=1e-5, force_penalty=1e-5, directions=6), free_atoms=FREE)
    data = TrainingData(source="springs", sha256="0" * 64, n_records=len(records))
    packed = ModelFolder.pack("amons", model.model, training_data=data, card="# Springs", thresholds=thresholds)
    return str(packed.save(folder))


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fitted(tmp_path_factory.mktemp("models") / "small", ("H2O", "CH3OH", "HCN"))


@pytest.fixture(scope="module")
def silane(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fitted(tmp_path_factory.mktemp("models") / "silane", ("SiH4", "Si2H6"))


class TestContract(CalculatorContract):
    calculator = AmonsCalculator
    measure = "novelty"
    formulas = ("H2O", "CH3OH", "HCN")
    law_tolerance = 1e-6
    force_tolerance = 1e-4
    float32_tolerance = None

    @pytest.fixture
    def model(self, small_model: str) -> str:
        return small_model


def silicon() -> Atoms:
    atoms = bulk("Si", "diamond", a=5.5)
    atoms.rattle(0.05, seed=2)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * np.array([[1, 0.5, 0], [0, -1, 0.3], [0, 0, 0.6]])), True)
    return atoms


def test_forces_and_stress_of_a_cell_are_derivatives(silane: str) -> None:
    atoms = silicon()
    atoms.calc = AmonsCalculator(silane, uncertainty="none")
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-3), atol=2e-4)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-4), atol=1e-5)


def test_energy_of_a_supercell_is_that_of_its_cells(silane: str) -> None:
    calc, atoms = AmonsCalculator(silane, uncertainty="none"), silicon()
    one, two = calc.predict([atoms, atoms.repeat((1, 1, 2))], ["energy", "forces", "stress"])
    assert two["energy"] == pytest.approx(2 * one["energy"], abs=1e-7)
    np.testing.assert_allclose(two["forces"], np.tile(one["forces"], (2, 1)), atol=1e-7)
    np.testing.assert_allclose(two["stress"], one["stress"], atol=1e-8)


def test_chain_has_forces_and_no_stress(silane: str) -> None:
    chain = Atoms(
        "Si2H4", [[0, 0, 0], [1.9, 1.3, 0], [0, -0.9, 1.2], [0, -0.9, -1.2], [1.9, 2.2, 1.2], [1.9, 2.2, -1.2]]
    )
    chain.cell, chain.pbc = [3.8, 0, 0], [True, False, False]
    chain.calc = AmonsCalculator(silane)
    np.testing.assert_allclose(chain.get_forces(), calculate_numerical_forces(chain, eps=1e-3), atol=2e-4)
    with pytest.raises(PropertyNotImplementedError, match="three periods"):
        chain.get_stress()


def test_box_changes_nothing(silane: str) -> None:
    atoms = molecule("SiH4")
    boxed = atoms.copy()
    boxed.center(vacuum=10.0)
    boxed.pbc = True
    one, other = AmonsCalculator(silane).predict([atoms, boxed])
    assert other["energy"] == pytest.approx(one["energy"], abs=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_cell([1e-2, 5, 5]), "repeats itself after 0.01"),
        (lambda atoms: atoms.set_cell([0, 5, 5]), "periodic along cell vector 0, which is zero"),
        (lambda atoms: atoms.set_cell([[5, 0, 0], [5, 0, 0], [0, 0, 5]]), "linearly dependent"),
    ],
)
def test_bad_cell_is_refused(silane: str, change: Any, message: str) -> None:
    atoms = molecule("SiH4")
    atoms.pbc = True
    change(atoms)
    with pytest.raises(InputError, match=message):
        AmonsCalculator(silane).get_potential_energy(atoms)


def test_extras_tell_what_is_not_known(small_model: str) -> None:
    calc = AmonsCalculator(small_model, uncertainty="forces")
    known, stretched = molecule("CH3OH"), molecule("CH3OH")
    stretched.positions[1] += [0.0, 0.6, 0.0]  # the oxygen
    for atoms in (stretched, known):
        calc.calculate(atoms, ["energy"])
        if atoms is stretched:
            before = calc.extras
    assert before["energy_uncertainty"] > 3 * calc.extras["energy_uncertainty"]
    assert before["forces_uncertainty"].shape == (6, 3)
    assert before["forces_uncertainty"].max() > calc.extras["forces_uncertainty"].max()
    assert before["novelty"].max() > 2 * calc.extras["novelty"].max()
    assert 1 in before["badly_covered"]
    assert calc.extras["amons"][0] == "H2O"
    calc.set(uncertainty="none")
    calc.calculate(known, ["energy"])
    assert "energy_uncertainty" not in calc.extras


def test_threshold_warns_and_names_atoms(tmp_path: Any) -> None:
    model = fitted(tmp_path / "strict", ("H2O",), {"energy_uncertainty": 1e-6})
    calc, water = AmonsCalculator(model), molecule("H2O")
    water.positions[0] += [0.0, 0.0, 0.8]
    with pytest.warns(OutOfDomainWarning, match=r"energy_uncertainty.* surroundings of the atoms \d"):
        calc.get_potential_energy(water)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AmonsCalculator(model, uncertainty="none").get_potential_energy(water)


def test_unknown_uncertainty_is_refused(small_model: str) -> None:
    with pytest.raises(InputError, match="Did you mean 'forces'"):
        AmonsCalculator(small_model, uncertainty="force")
