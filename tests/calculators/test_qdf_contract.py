"""The contract suite on `QDFCalculator`, with a small untrained network of random weights."""

from __future__ import annotations

import pytest

from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.models.folder import ModelFolder, TrainingData
from tests.calculators.contract import CalculatorContract
from tests.models.qdf.networks import random_network


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    data = TrainingData(source="none: random weights", sha256="0" * 64, n_records=1)
    folder = ModelFolder.pack("qdf", random_network(seed=3, grid_level=2), training_data=data, card="# Random weights")
    return str(folder.save(tmp_path_factory.mktemp("models") / "small"))


class QDFContract(CalculatorContract):
    calculator = QDFCalculator

    formulas = ("H2O", "CH3OH", "HCN")

    @pytest.fixture
    def model(self, small_model: str) -> str:
        return small_model


class TestDefaultGrid(QDFContract):
    turning_tolerance = 2e-2
    float32_tolerance = 2e-3


class TestFineGrid(QDFContract):
    options = {"grid_level": 4}
    turning_tolerance = 4e-3
    float32_tolerance = 2e-3

    @pytest.mark.slow
    def test_hessian_is_the_derivative_of_the_forces(self, calc: MlwaveCalculator) -> None:
        super().test_hessian_is_the_derivative_of_the_forces(calc)
