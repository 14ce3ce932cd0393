"""The density of `QDFCalculator`: on points, and as a cube file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.io.cube import read_cube

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.units import BOHR
from ase_mlwave.zoo import ModelFolder, TrainingData
from tests.qdf.networks import random_network


@pytest.fixture(scope="module")
def calc(tmp_path_factory: pytest.TempPathFactory) -> QDFCalculator:
    data = TrainingData(source="none: random weights", sha256="0" * 64, n_records=1)
    network = random_network(seed=3, grid_level=3, orbitals={"O": (("1s", 1.0), ("2p", 0.4))})
    folder = ModelFolder.pack("qdf", network, training_data=data, card="# Random weights")
    return QDFCalculator(folder.save(tmp_path_factory.mktemp("models") / "small"))


def test_cube_file_holds_the_density_and_the_electrons(calc: QDFCalculator, tmp_path: Path) -> None:
    water = molecule("H2O")
    calc.write_density(water, tmp_path / "water.cube", spacing=0.12)
    with (tmp_path / "water.cube").open(encoding="utf-8") as file:
        cube = read_cube(file)
    volume = np.prod(np.diag(cube["spacing"])) / BOHR**3
    assert cube["data"].sum() * volume == pytest.approx(10, abs=0.1)
    index = (5, 20, 25)
    point = cube["origin"] + np.array(index) @ cube["spacing"]
    assert calc.density(water, point) * BOHR**3 == pytest.approx(cube["data"][index], abs=1e-4)


def test_points_keep_their_shape_and_nonsense_is_refused(calc: QDFCalculator) -> None:
    water = molecule("H2O")
    density = calc.density(water, np.zeros((2, 3, 3)))
    assert density.shape == (2, 3)
    assert (density > 0).all()
    assert calc.density(water, [0, 0, 50.0]) == 0
    for points in (3.0, [0.0, 0.0], [np.nan, 0, 0]):
        with pytest.raises(InputError, match=r"give \(\.\.\., 3\)"):
            calc.density(water, points)


@pytest.mark.parametrize("level", [-1, 6, 1.5, "fine"])
def test_grid_level_is_checked(calc: QDFCalculator, level: object) -> None:
    with pytest.raises(InputError, match="whole number from 0 to 5"):
        calc.set(grid_level=level)
