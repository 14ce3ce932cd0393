from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import BaseCalculator, CalculationFailed, InputError
from ase.calculators.emt import EMT
from ase.calculators.harmonic import SpringCalculator
from ase.vibrations import Vibrations

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.reference.dynamics import sample_langevin
from ase_mlwave.reference.levels import CalculatorLevel, LevelOfTheory
from ase_mlwave.reference.modes import normal_modes, sample_modes
from ase_mlwave.reference.sampling import level_calculator, sample_geometries
from ase_mlwave.reference.settings import LangevinSettings

BOHR = 0.529177210903
FAST = LangevinSettings(timestep=1.0, friction=0.1, equilibration=100.0, interval=20.0)


def emt() -> CalculatorLevel:
    return CalculatorLevel("emt", lambda record: EMT())


def positions(records: Sequence[Record]) -> Any:
    return np.array([record.positions for record in records])


def test_langevin_samples_its_temperature() -> None:
    """Each coordinate of an atom on a spring varies by k T / spring constant (equipartition)."""
    centres, constant = np.arange(30.0).reshape(10, 3), 5.0  # eV/Angstrom^2
    atoms = Atoms("He10", centres)
    temperatures = [300.0, 1200.0]
    records = sample_langevin(atoms, SpringCalculator(centres, constant), temperatures, 150, 7, FAST)
    assert [record.info["temperature"] for record in records] == [300.0] * 150 + [1200.0] * 150
    for part, temperature in enumerate(temperatures):
        displacements = positions(records[150 * part : 150 * (part + 1)]) * BOHR - centres
        assert np.mean(displacements**2) == pytest.approx(units.kB * temperature / constant, rel=0.08)


def test_langevin_is_reproducible() -> None:
    def draw(seed: int) -> Any:
        return positions(sample_langevin(molecule("CO"), EMT(), [300.0], 3, seed, FAST))

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_langevin_leaves_the_molecule_and_reports() -> None:
    atoms, reports = molecule("CO"), []
    atoms.info["split"] = "train"
    before = atoms.positions.copy()
    records = sample_langevin(atoms, EMT(), [100.0, 200.0], 2, 0, FAST, progress=reports.append)
    assert np.array_equal(atoms.positions, before)
    assert atoms.calc is None
    assert reports == [1, 2, 3, 4]
    assert [record.info for record in records[::2]] == [
        {"split": "train", "temperature": 100.0},
        {"split": "train", "temperature": 200.0},
    ]
    assert all(record.energy is None for record in records)


def test_diverging_dynamics_are_an_error() -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 1.0]])
    calculator = SpringCalculator(atoms.positions, 1e12)
    with np.errstate(all="ignore"), pytest.raises(CalculationFailed, match="take a shorter time step"):
        sample_langevin(atoms, calculator, [300.0], 1, 0, FAST)


@pytest.mark.parametrize(("name", "n_modes"), [("H2O", 3), ("CO2", 4), ("N2", 1)])
def test_normal_modes_equal_those_of_ase(name: str, n_modes: int, tmp_path: Any) -> None:
    pytest.importorskip("tblite")
    record = record_from_atoms(molecule(name))
    calculator = level_calculator(LevelOfTheory.parse("gfn2-xtb"), record)
    modes = normal_modes(record, calculator)
    atoms = modes.atoms.copy()
    atoms.calc = calculator
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.005)
    vibrations.run()
    expected = vibrations.get_energies().real[-n_modes:]
    assert modes.energies.shape == (n_modes,)
    np.testing.assert_allclose(modes.energies, expected, rtol=2e-3)


def energies_along(modes: Any, calculator: BaseCalculator, mode: int, size: float) -> float:
    atoms = modes.atoms.copy()
    atoms.calc = calculator
    lowest = atoms.get_potential_energy()
    energy = 0.0
    for sign in (1, -1):
        atoms.positions = modes.atoms.positions + sign * size * modes.vectors[mode]
        energy += (atoms.get_potential_energy() - lowest) / 2
    return energy


def test_energy_along_a_normal_coordinate_is_harmonic() -> None:
    """V(Q) = omega^2 Q^2 / 2, with hbar omega the energy of the vibration; ties the vectors to the energies."""
    pytest.importorskip("tblite")
    record = record_from_atoms(molecule("H2O"))
    calculator = level_calculator(LevelOfTheory.parse("gfn2-xtb"), record)
    modes = normal_modes(record, calculator)
    hbar = 6.582119569e-16 / (np.sqrt(1.66053906660e-27 * 1e-20 / 1.602176634e-19))  # eV s / (s of ASE's unit)
    for mode, energy in enumerate(modes.energies):
        expected = 0.5 * (energy / hbar) ** 2 * 0.02**2
        assert energies_along(modes, calculator, mode, 0.02) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("quantum", [True, False])
def test_normal_coordinates_have_the_thermal_variance(quantum: bool) -> None:
    modes = normal_modes(molecule("CO"), EMT())
    temperature = 2000.0
    records = sample_modes(modes, [temperature], 4000, seed=3, quantum=quantum)
    displacements = positions(records) * BOHR - modes.atoms.positions
    masses = modes.atoms.get_masses()[:, None]
    coordinates = np.einsum("gni,ni->g", displacements, masses * modes.vectors[0])
    (energy,) = modes.energies
    hbar = 6.582119569e-16 / (np.sqrt(1.66053906660e-27 * 1e-20 / 1.602176634e-19))
    omega = energy / hbar
    occupation = 1 / np.expm1(energy / (8.617333262e-5 * temperature))  # Bose-Einstein
    mean_energy = energy * (occupation + 0.5) if quantum else 8.617333262e-5 * temperature
    assert np.var(coordinates) == pytest.approx(mean_energy / omega**2, rel=0.07)
    assert np.mean(coordinates) == pytest.approx(0.0, abs=0.06 * np.std(coordinates))


def test_displacements_neither_move_nor_turn_the_molecule() -> None:
    pytest.importorskip("tblite")
    record = record_from_atoms(molecule("H2O"))
    modes = normal_modes(record, level_calculator(LevelOfTheory.parse("gfn2-xtb"), record))
    masses = modes.atoms.get_masses()[:, None]
    centred = modes.atoms.positions - modes.atoms.get_center_of_mass()
    for vector in modes.vectors:
        assert np.abs((masses * vector).sum(axis=0)).max() < 1e-10
        assert np.abs(np.cross(centred, masses * vector).sum(axis=0)).max() < 1e-10


def test_saddle_points_have_no_thermal_displacements() -> None:
    pytest.importorskip("tblite")
    planar = molecule("NH3")
    planar.positions[:, 2] = 0.0  # stays planar by symmetry
    record = record_from_atoms(planar)
    with pytest.raises(CalculationFailed, match="saddle point"):
        normal_modes(record, level_calculator(LevelOfTheory.parse("gfn2-xtb"), record))


@pytest.mark.parametrize("method", ["langevin", "modes"])
def test_geometries_of_several_molecules(method: Any) -> None:
    reports: list[tuple[int, int]] = []

    def draw(*names: str) -> Any:
        return sample_geometries(
            [molecule(name) for name in names],
            emt(),
            [100.0, 200.0],
            2,
            5,
            method=method,
            settings=FAST,
            progress=lambda done, total: reports.append((done, total)),
        )

    dataset = draw("CO", "N2")
    assert [record.formula for record in dataset] == ["CO"] * 4 + ["N2"] * 4
    assert [record.info["temperature"] for record in dataset] == [100.0, 100.0, 200.0, 200.0] * 2
    assert reports[-1] == (8, 8)
    assert dataset.level == ""
    alone = draw("CO")  # the first molecule does not depend on the second
    assert [record.content_hash() for record in alone] == [record.content_hash() for record in dataset.records[:4]]


def test_pyscf_drives_dynamics_too() -> None:
    settings = LangevinSettings(equilibration=0.0, interval=1.0)
    dataset = sample_geometries([molecule("H2")], "hf/sto-3g", [300.0], 1, 0, settings=settings)
    bond = np.linalg.norm(dataset[0].positions[0] - dataset[0].positions[1]) * BOHR
    assert 0.6 < bond < 0.9


def test_wrong_requests_are_refused() -> None:
    water = [molecule("H2O")]
    with pytest.raises(InputError, match="temperatures must be positive"):
        sample_geometries(water, emt(), [300.0, -1.0], 1, 0)
    with pytest.raises(InputError, match="temperatures must be positive"):
        sample_geometries(water, emt(), [], 1, 0)
    with pytest.raises(InputError, match="number of geometries must be at least 1"):
        sample_geometries(water, emt(), [300.0], 0, 0)
    with pytest.raises(InputError, match="Did you mean 'modes'"):
        sample_geometries(water, emt(), [300.0], 1, 0, method="mode")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="coincide"):
        sample_geometries([Atoms("H2")], emt(), [300.0], 1, 0)
