"""Hessians, vibrations and infrared spectra, beside PySCF's analytic Hessian and ASE's own finite differences."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from ase.vibrations import Infrared

from ase_mlwave import AmonsCalculator, PhiSNetCalculator, plot_spectrum
from ase_mlwave.calculators.checks import read_atoms
from ase_mlwave.calculators.second_derivatives import SecondDerivatives
from ase_mlwave.console import late_bar
from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
from ase_mlwave.models.domain.wall import wall_hessian
from tests.calculators.responses import FILE, distorted_water
from tests.calculators.waters import shipped


@pytest.fixture(scope="module")
def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.calc = shipped("wavefunction")
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    return atoms


@pytest.mark.parametrize("level", ["functional", pytest.param("scf", marks=pytest.mark.slow)])
def test_hessian_is_that_of_pyscf(level: str) -> None:
    """Largest elements are 50 eV/Angstrom^2; what differs is the integration grid."""
    reference = json.loads(FILE.read_text(encoding="utf-8"))["hessian"]
    np.testing.assert_allclose(shipped(level).hessian(distorted_water()), reference, atol=0.1)


def test_exact_and_numerical_hessians_agree() -> None:
    """Two ways to the same numbers: autograd, and central differences whose error falls with the square of the step."""
    atoms = molecule("HCN")
    atoms.rattle(0.03, seed=1)
    calc = PhiSNetCalculator("phisnet-chno", energy="wavefunction")
    exact, coarse, fine = (calc.hessian(atoms, step=step) for step in (None, 4e-3, 2e-3))
    np.testing.assert_allclose((4 * fine - coarse) / 3, exact, atol=1e-4)
    assert np.abs(coarse - exact).max() > 1e-3


@pytest.fixture
def squeezed() -> Atoms:
    """Give a water whose atoms nearly touch, far outside of what a model knows."""
    atoms = molecule("H2O")
    atoms.positions[1] = atoms.positions[0] + 0.6 * (atoms.positions[1] - atoms.positions[0])
    return atoms


def test_atoms_that_nearly_touch_have_the_curvature_of_the_wall(squeezed: Atoms) -> None:
    calc = PhiSNetCalculator("phisnet-chno", energy="wavefunction", outside="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact, numerical = calc.hessian(squeezed), calc.hessian(squeezed, step=1e-4)
    np.testing.assert_allclose(exact, numerical, rtol=1e-4, atol=1e-3)
    assert np.abs(wall_hessian(read_atoms(squeezed, calc.domain))).max() > 0.1


def test_infrared_is_that_of_ase(water: Atoms, tmp_path: Path) -> None:
    reference = Infrared(water, name=str(tmp_path / "ir"), delta=1e-3)
    reference.run()
    found = water.calc.infrared(water)
    np.testing.assert_allclose(found.get_frequencies()[-3:], reference.get_frequencies()[-3:], atol=0.1)
    np.testing.assert_allclose(found.get_intensities()[-3:], reference.intensities[-3:], rtol=1e-3)
    factor, _ = reference.intensity_prefactor("km/mol")
    frequencies, intensities = found.lines()
    np.testing.assert_allclose(frequencies, found.get_frequencies()[-3:].real)
    np.testing.assert_allclose(intensities, factor * reference.intensities[-3:], rtol=1e-3)
    np.testing.assert_allclose(
        water.calc.vibrations(water).get_frequencies()[-3:], found.get_frequencies()[-3:], atol=0.1
    )
    with pytest.raises(ValueError, match="no unit 'km'"):
        found.get_intensities("km")


def test_dipole_gradients_of_a_neutral_molecule_add_up_to_nothing(water: Atoms) -> None:
    np.testing.assert_allclose(water.calc.infrared(water).dipole_gradient.sum(axis=0), 0, atol=1e-6)


def test_vibrations_ignore_constraints_and_change_nothing(water: Atoms) -> None:
    fixed = water.copy()
    fixed.set_constraint(FixAtoms([0]))
    before = fixed.positions.copy()
    np.testing.assert_array_equal(water.calc.hessian(fixed), water.calc.hessian(water))
    assert len(water.calc.vibrations(fixed).get_energies()) == 9
    np.testing.assert_array_equal(fixed.positions, before)
    assert len(fixed.constraints) == 1


def test_linear_molecules_and_atoms_have_the_lines_they_should() -> None:
    calc = PhiSNetCalculator("phisnet-chno", energy="wavefunction", outside="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(calc.infrared(molecule("CO2")).lines()[0]) == 4


def test_structure_outside_the_domain_is_judged_once(squeezed: Atoms) -> None:
    crushed = squeezed.copy()
    crushed.positions *= 0.5
    with pytest.raises(OutOfDomainError):
        PhiSNetCalculator("phisnet-chno", energy="wavefunction").hessian(crushed)
    calc = PhiSNetCalculator("phisnet-chno", energy="wavefunction", outside="warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calc.hessian(squeezed, step=1e-3)
    assert [one.category for one in caught] == [OutOfDomainWarning]


def test_wrong_requests_are_refused(water: Atoms) -> None:
    with pytest.raises(InputError, match=r"step is -1; give a positive number"):
        water.calc.hessian(water, step=-1)
    with pytest.raises(PropertyNotImplementedError, match="'dipole'"):
        AmonsCalculator("amons-chno").infrared(molecule("CH4"))
    assert issubclass(AmonsCalculator, SecondDerivatives)


def test_bar_waits_before_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr("rich.progress.Progress.start", lambda self: started.append(1))
    with late_bar("work", 2) as advance:
        advance(1)
    assert not started
    monkeypatch.setattr("ase_mlwave.console._PATIENCE", -1.0)
    with late_bar("work", 2) as advance:
        advance(2)
    assert started


def test_spectrum_has_the_lines_where_they_are(water: Atoms) -> None:
    frequencies, intensities = water.calc.infrared(water).lines()
    axes = plot_spectrum({"model": (frequencies, intensities)}, width=10)
    x, y = axes.lines[0].get_data()
    assert x[np.argmax(y)] == pytest.approx(frequencies[np.argmax(intensities)], abs=2)
    assert np.trapezoid(y, x) == pytest.approx(intensities.sum(), rel=0.05)
