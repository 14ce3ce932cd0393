"""ASE's machinery on the shipped water model, beside PySCF doing the same at the same level of theory.

PySCF's numbers are in ``files/water_reference.json``, made by ``python -m tests.calculators.protocols``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import Trajectory, read, write
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.calculators.phisnet import ENERGY_LEVELS
from ase_mlwave.demo.dynamics import run_nve
from tests.calculators.protocols import (
    FILE,
    LEVEL,
    bending_path,
    frequencies,
    inversion_path,
    minimum,
    shape,
    trajectory,
)
from tests.calculators.waters import MODEL, shipped, waters

REFERENCE: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def minima() -> dict[str, tuple[Atoms, float]]:
    return {level: minimum(shipped(level)) for level in ("wavefunction", "functional")}


def test_reference_is_at_the_models_level() -> None:
    assert shipped().members[0].config.level == LEVEL == REFERENCE["level"]


@pytest.mark.parametrize(
    ("level", "bond", "angle", "energy"), [("wavefunction", 0.002, 0.1, 2.5e-3), ("functional", 2e-5, 5e-3, 1e-5)]
)
def test_optimisation_finds_the_minimum_of_pyscf(
    minima: dict[str, tuple[Atoms, float]], level: str, bond: float, angle: float, energy: float
) -> None:
    atoms, lowest = minima[level]
    reference = REFERENCE["minimum"]
    np.testing.assert_allclose(shape(atoms)[:2], reference["shape"][:2], atol=bond)
    assert shape(atoms)[2] == pytest.approx(reference["shape"][2], abs=angle)
    assert lowest == pytest.approx(reference["energy"], abs=energy)


@pytest.mark.parametrize(("level", "tolerance"), [("wavefunction", 25), ("functional", 1)])
def test_vibrations_are_those_of_pyscf(minima: dict[str, tuple[Atoms, float]], level: str, tolerance: float) -> None:
    values = frequencies(shipped(level), minima[level][0])
    np.testing.assert_allclose(values, REFERENCE["frequencies"], atol=tolerance)


def test_tight_relaxation_converges() -> None:
    """As before a vibrational analysis; forces that are not quite the derivative never become so small.

    In this orientation the grid, which does not turn with the molecule, is symmetric. In others the energy falls by
    another 0.02 meV while the molecule turns, which takes an optimiser tens of steps.
    """
    atoms = molecule("H2O")
    atoms.calc = shipped("functional")
    assert BFGS(atoms, logfile=None).run(fmax=1e-4, steps=15)
    np.testing.assert_allclose(atoms.get_forces().sum(0), 0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["functional", "scf"])
def test_vibrations_have_no_spurious_imaginary_modes(level: str, tmp_path: Path) -> None:
    """Translations and rotations stay below 30 cm^-1; larger displacements would add anharmonic rotations of 50i."""
    atoms = molecule("H2O")
    atoms.calc = shipped(level)
    assert BFGS(atoms, logfile=None).run(fmax=1e-4, steps=15)
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.002)
    vibrations.run()
    values = vibrations.get_frequencies()
    assert np.abs(values[:6]).max() < 30
    np.testing.assert_allclose(values[6:].real, REFERENCE["frequencies"], atol=3)


@pytest.mark.parametrize(("level", "tolerance"), [("wavefunction", 2e-3), ("functional", 1e-5)])
def test_trajectory_is_that_of_pyscf(level: str, tolerance: float) -> None:
    """After a vibration of O-H, in which the atoms have moved by up to 0.2 Angstrom."""
    atoms = trajectory(PhiSNetCalculator(MODEL, energy=level))
    np.testing.assert_allclose(atoms.positions, REFERENCE["trajectory"], atol=tolerance)


@pytest.mark.slow
def test_energy_is_conserved() -> None:
    """0.2 ps; a drift would mean forces that are no derivative of the energy."""
    run = run_nve(PhiSNetCalculator(MODEL), steps=800, timestep_fs=0.25)
    assert abs(run.drift) < 1.0
    assert run.fluctuation < 3.0
    assert np.ptp(run.potential) > 0.05  # it moved


def test_energy_of_a_short_run_is_conserved() -> None:
    """Velocity Verlet's error falls with the square of the time step, which wrong forces would not allow."""
    coarse, fine = (run_nve(shipped(), steps=round(20 / step), timestep_fs=step) for step in (0.5, 0.25))
    assert fine.fluctuation < 2.0
    assert 3.0 < coarse.fluctuation / fine.fluctuation < 5.0


@pytest.mark.parametrize(("level", "tolerance"), [("wavefunction", 3e-3), ("functional", 1e-5)])
def test_elastic_band_is_that_of_pyscf(level: str, tolerance: float) -> None:
    _compare_paths(bending_path(PhiSNetCalculator(MODEL, energy=level)), "bending", tolerance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_barrier_of_inversion_is_that_of_pyscf() -> None:
    """Linear water, 1.3 eV up, is outside of what the model has seen, but the functional mends most of that.

    Only ends and saddle are compared: how far images beside it have slid depends on where the optimiser stops.
    """
    path = inversion_path(PhiSNetCalculator(MODEL, energy="functional", outside="warn"))
    reference = REFERENCE["paths"]["inversion"]
    barrier, reference_barrier = (e[2] - e[0] for e in (_energies(path), reference["energies"]))
    assert 1.2 < reference_barrier < 1.5
    assert barrier == pytest.approx(reference_barrier, abs=5e-3)
    np.testing.assert_allclose(shape(path[2])[:2], reference["shapes"][2][:2], atol=0.005)
    assert shape(path[2])[2] == pytest.approx(180, abs=1.5)


def _energies(path: list[Atoms]) -> list[float]:
    return [float(image.get_potential_energy()) for image in path]


def _compare_paths(path: list[Atoms], name: str, tolerance: float) -> None:
    reference = REFERENCE["paths"][name]
    np.testing.assert_allclose(_energies(path), reference["energies"], atol=tolerance)
    for image, (one, other, angle) in zip(path, reference["shapes"], strict=True):
        np.testing.assert_allclose(shape(image)[:2], [one, other], atol=0.003)
        assert shape(image)[2] == pytest.approx(angle, abs=0.1)


@pytest.mark.parametrize("level", ENERGY_LEVELS)
def test_files_keep_energies_and_forces(level: str, tmp_path: Path) -> None:
    """Extended XYZ and ASE's trajectory, dipole and charges included."""
    calc = PhiSNetCalculator(MODEL, energy=level)
    images = waters(2)
    with Trajectory(tmp_path / "run.traj", "w") as file:
        for atoms in images:
            atoms.calc = calc
            atoms.get_dipole_moment()
            atoms.get_charges()
            atoms.get_forces()
            file.write(atoms)
            write(tmp_path / "run.extxyz", atoms, append=True)
    expected = calc.predict(images, ["energy", "free_energy", "forces", "dipole", "charges"])
    for again, tolerance in ((read(tmp_path / "run.traj", ":"), 1e-7), (read(tmp_path / "run.extxyz", ":"), 1e-6)):
        for atoms, result in zip(again, expected, strict=True):
            assert atoms.get_potential_energy() == pytest.approx(result["energy"], abs=tolerance)
            np.testing.assert_allclose(atoms.get_forces(), result["forces"], atol=tolerance)
            np.testing.assert_allclose(atoms.get_dipole_moment(), result["dipole"], atol=tolerance)
            np.testing.assert_allclose(atoms.get_charges(), result["charges"], atol=tolerance)
