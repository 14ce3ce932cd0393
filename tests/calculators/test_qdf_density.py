"""The density of `QDFCalculator`: on points, as a cube file, and the electrons in both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.io.cube import read_cube
from pyscf import dft

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.qdf.inference import density_on_points
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.units import BOHR
from tests.models.qdf.networks import random_network


def model(folder: Path, seed: int) -> str:
    data = TrainingData(source="none: random weights", sha256="0" * 64, n_records=1)
    packed = ModelFolder.pack("qdf", random_network(seed), training_data=data, card="# Random weights")
    return str(packed.save(folder / f"seed-{seed}"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [model(folder, seed) for seed in (3, 4)]


@pytest.fixture
def calc(models: list[str]) -> QDFCalculator:
    return QDFCalculator(models[0])


def becke_grid(atoms: Atoms, level: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return points, Angstrom, and weights, Angstrom^3, of PySCF's grid, which the model knows nothing of."""
    grid = dft.gen_grid.Grids(build_mole(atoms.numbers, atoms.positions / BOHR, "sto-3g"))
    grid.level = level
    grid.build()
    return grid.coords * BOHR, grid.weights * BOHR**3


def rattled(name: str) -> Atoms:
    atoms = molecule(name)
    atoms.rattle(0.06, seed=1)
    return atoms


@pytest.mark.parametrize("name", ["H2O", "CH3CH2OH", "HCN"])
@pytest.mark.parametrize("grid_level", [0, 2])
def test_density_holds_the_electrons(models: list[str], name: str, grid_level: int) -> None:
    atoms = rattled(name)
    points, weights = becke_grid(atoms)
    for calc in (QDFCalculator(models[1], grid_level=grid_level), QDFCalculator(models, grid_level=grid_level)):
        density = calc.density(atoms, points)
        assert (density >= 0).all()
        assert density @ weights == pytest.approx(atoms.numbers.sum(), abs=1e-3)


def test_electrons_counted_on_the_grid_of_the_energy_would_be_too_few_or_many(calc: QDFCalculator) -> None:
    """The reason for a finer one."""
    atoms = rattled("CH3CH2OH")
    points, weights = becke_grid(atoms)
    network = random_network(4)
    system = Record(numbers=atoms.numbers, positions=atoms.positions / BOHR)
    missed = density_on_points(network, system, points / BOHR, grid_level=2) @ weights / BOHR**3 - atoms.numbers.sum()
    assert abs(missed) > 1e-2


def test_density_asked_for_in_the_middle_of_an_energy_changes_nothing(calc: QDFCalculator) -> None:
    """What other threads do with the same network: a pass is told its grid, and the network does not keep it."""
    atoms, asked = rattled("CH3OH"), []
    (undisturbed,) = calc.predict([atoms])
    network = calc.members[0].network

    def ask(*_: object) -> None:
        if not asked:
            asked.append(None)
            asked.append(calc.density(atoms, np.zeros((1, 3))))

    handle = network.functional.register_forward_pre_hook(ask)
    (disturbed,) = calc.predict([atoms])
    handle.remove()
    assert len(asked) == 2
    assert disturbed["energy"] == undisturbed["energy"]
    np.testing.assert_array_equal(disturbed["forces"], undisturbed["forces"])


@pytest.mark.parametrize("spacing", [0.1, 0.15])
def test_cube_file_holds_the_electrons(calc: QDFCalculator, tmp_path: Path, spacing: float) -> None:
    atoms = rattled("H2O")
    calc.write_density(atoms, tmp_path / "water.cube", spacing=spacing)
    with (tmp_path / "water.cube").open(encoding="utf-8") as file:
        cube = read_cube(file)
    np.testing.assert_array_equal(cube["atoms"].numbers, atoms.numbers)
    np.testing.assert_allclose(cube["atoms"].positions, atoms.positions, atol=1e-5)
    assert np.diag(cube["spacing"]).max() <= spacing + 1e-6
    volume = np.linalg.det(cube["spacing"]) / BOHR**3
    assert cube["data"].sum() * volume == pytest.approx(10, abs=1e-3)
    index = (15, 20, 25)
    point = cube["origin"] + np.array(index) @ cube["spacing"]
    assert calc.density(atoms, point) * BOHR**3 == pytest.approx(cube["data"][index], rel=1e-4)


def test_density_turns_with_the_molecule(calc: QDFCalculator) -> None:
    atoms = rattled("CH3CH2OH")
    points = becke_grid(atoms, level=0)[0][::20]
    turned = atoms.copy()
    turned.rotate(50, (1, 2, 3), center=(0, 0, 0))
    turned_points = Atoms(f"H{len(points)}", points)
    turned_points.rotate(50, (1, 2, 3), center=(0, 0, 0))
    density = calc.density(atoms, points)
    np.testing.assert_allclose(calc.density(turned, turned_points.positions), density, rtol=1e-3)


def test_points_keep_their_shape_and_nonsense_is_refused(calc: QDFCalculator, tmp_path: Path) -> None:
    water = molecule("H2O")
    density = calc.density(water, np.zeros((2, 3, 3)))
    assert density.shape == (2, 3)
    assert (density > 0).all()
    assert calc.density(water, [0, 0, 50.0]) == 0
    for points in (3.0, [0.0, 0.0], [np.nan, 0, 0]):
        with pytest.raises(InputError, match=r"give \(\.\.\., 3\)"):
            calc.density(water, points)
    for spacing in (0.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="must be positive"):
            calc.write_density(water, tmp_path / "no.cube", spacing=spacing)
    for place in (tmp_path / "absent" / "no.cube", tmp_path):
        with pytest.raises(InputError, match="can be no file"):
            calc.write_density(water, place)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("level", [-1, 6, 1.5, "fine"])
def test_grid_level_is_checked(calc: QDFCalculator, level: object) -> None:
    with pytest.raises(InputError, match="whole number from 0 to 5"):
        calc.set(grid_level=level)
