"""The domain policy on the shipped models: molecules that everybody knows, and what nobody should rely on."""

from __future__ import annotations

import re
import warnings

import pytest
from ase import Atoms
from ase.build import molecule

from ase_mlwave import PhiSNetCalculator, QDFCalculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning


def pair(name: str, distance: float) -> Atoms:
    other = molecule(name)
    other.translate([distance, 0, 0])
    return molecule(name) + other


@pytest.fixture(scope="module")
def field() -> QDFCalculator:
    return QDFCalculator("qdf-chno", dtype="float32")


@pytest.mark.parametrize("name", ["CH3CONH2", "CH3CH2OH", "butadiene", "NH3", "H2O"])
def test_field_knows_everyday_molecules(field: QDFCalculator, name: str) -> None:
    """Warnings are errors in these tests."""
    field.predict([molecule(name)], ["energy"])


@pytest.mark.parametrize("distance", [3.0, 4.0])
def test_field_knows_two_waters(field: QDFCalculator, distance: float) -> None:
    """Pairs in contact are among what it learned: no warning, and no interaction that nature has not."""
    one, two = field.predict([molecule("H2O"), pair("H2O", distance)], ["energy"])
    assert two["energy"] == pytest.approx(2 * one["energy"], abs=0.25)


@pytest.mark.parametrize("name", ["CO2", "N2"])
def test_field_warns_of_bonds_that_it_hardly_knows(field: QDFCalculator, name: str) -> None:
    with pytest.warns(OutOfDomainWarning) as seen:
        field.predict([molecule(name)], ["energy"])
    assert any(re.search(r"domain_distance.*atoms [CNO]\d", str(warning.message)) for warning in seen)


def test_field_warns_of_energies_that_it_has_not_learned(field: QDFCalculator) -> None:
    """An error of 0.7 eV, with surroundings that all look familiar."""
    with pytest.warns(OutOfDomainWarning, match="energy_uncertainty"):
        (outcome,) = field.predict_outcomes([molecule("C6H6")], ["energy"])
    assert outcome.extras["domain_distance"].max() < 1.0
    assert 0.3 < outcome.extras["energy_uncertainty"] < 2.0


@pytest.mark.parametrize("name", ["H2O2", "O3", "H2"])
def test_field_refuses_energies_that_it_cannot_know(field: QDFCalculator, name: str) -> None:
    """Errors of 4 eV and more."""
    with pytest.raises(OutOfDomainError, match="energy_uncertainty is"):
        field.predict([molecule(name)])


@pytest.mark.parametrize(("name", "distance"), [("N2", 3.0), ("CO2", 3.0), ("NH3", 2.0)])
def test_field_refuses_what_it_was_never_shown(field: QDFCalculator, name: str, distance: float) -> None:
    with pytest.raises(OutOfDomainError, match="domain_distance is"):
        field.predict([pair(name, distance)])
    with pytest.raises(OutOfDomainError, match="domain_distance is"):
        field.density(pair(name, distance), [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    "make", [lambda: QDFCalculator("qdf-chno", dtype="float32"), lambda: PhiSNetCalculator("phisnet-water")]
)
def test_molecules_that_do_not_feel_one_another_are_served(make: type[MlwaveCalculator]) -> None:
    calc = make()
    one, two = calc.predict([molecule("H2O"), pair("H2O", 25.0)], ["energy"])
    assert two["energy"] == pytest.approx(2 * one["energy"], abs=1e-3)


@pytest.mark.parametrize("distance", [2.5, 3.5])
def test_matrices_of_a_dimer_are_refused_by_a_model_of_one_molecule(distance: float) -> None:
    calc = PhiSNetCalculator("phisnet-water")
    with pytest.raises(OutOfDomainError):
        calc.hamiltonian(pair("H2O", distance))


def test_committee_counts_its_spread() -> None:
    committee = QDFCalculator(["qdf-chno", "qdf-chno-2", "qdf-chno-3"], dtype="float32", outside="warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        committee.predict([molecule("HCOOH")])
    assert any("forces_spread" in str(warning.message) for warning in seen)
