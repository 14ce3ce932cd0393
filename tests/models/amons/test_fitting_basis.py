"""Models in a basis of environments: forces of geometries that were not learned, and what a folder keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import Fit, fit_amons
from ase_mlwave.models.amons.inference import force_uncertainty, predict_batch
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.systems.system import System
from ase_mlwave.units import HARTREE
from tests.models.amons.springs import methanols
from tests.models.amons.test_fitting import FREE


@pytest.fixture(scope="module")
def fit() -> Fit:
    representation = SlatmConfig.for_forces(("C", "H", "O"))
    return fit_amons(
        methanols(range(60)), "springs", FitSettings.for_forces(), representation=representation, free_atoms=FREE
    )


def test_forces_carry_over_to_other_geometries(fit: Fit) -> None:
    records = methanols(range(1000, 1010))
    found = predict_batch(fit.model, records, forces=True)
    errors = np.array([one.forces - record.forces for one, record in zip(found, records, strict=True)])
    sizes = np.array([record.forces for record in records])
    assert np.abs(errors).mean() < 0.1 * np.abs(sizes).mean()


def test_forces_are_minus_the_derivative_of_the_energy(fit: Fit) -> None:
    (record,) = methanols([78])
    (found,) = predict_batch(fit.model, [record], forces=True)
    along = np.random.default_rng(0).normal(size=(len(record), 3))
    moved = [System(record.numbers, record.positions + step * along) for step in (1e-4, -1e-4)]
    plus, minus = predict_batch(fit.model, moved)
    assert (plus.energy - minus.energy) / 2e-4 == pytest.approx(-np.sum(found.forces * along), rel=1e-4, abs=1e-6)


def test_uncertainty_grows_away_from_the_training_set(fit: Fit) -> None:
    (near,), (far,) = methanols([2000]), methanols([2001])
    spread = far.positions * 1.15
    systems = [near, System(far.numbers, spread)]
    one, other = predict_batch(fit.model, systems, uncertainty=True)
    assert one.uncertainty is not None
    assert other.uncertainty is not None
    assert other.uncertainty > 3 * one.uncertainty > 0
    assert force_uncertainty(fit.model, systems[1]).mean() > force_uncertainty(fit.model, systems[0]).mean()


def test_model_folder_keeps_a_basis(fit: Fit, tmp_path: Path) -> None:
    data = TrainingData(source="springs", sha256="0" * 64, n_records=60)
    folder = ModelFolder.pack("amons", fit.model, training_data=data, card="# Springs").save(tmp_path / "model")
    (record,) = methanols([5])
    atoms = atoms_from_record(record)
    atoms.calc = AmonsCalculator(folder)
    (expected,) = predict_batch(fit.model, [record], uncertainty=True)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy * HARTREE, abs=1e-9)
    assert atoms.calc.extras["energy_uncertainty"] == pytest.approx(expected.uncertainty * HARTREE, rel=1e-4)
    assert fit.model.config.n_basis <= fit.model.config.fit.variance_rows


def test_a_smaller_basis_for_variances_claims_no_less_uncertainty(fit: Fit) -> None:
    settings = FitSettings.for_forces().model_copy(update={"variance_rows": 60})
    representation = SlatmConfig.for_forces(("C", "H", "O"))
    small = fit_amons(methanols(range(60)), "springs", settings, representation=representation, free_atoms=FREE)
    assert small.model.config.n_basis == len(small.model.factor) == 60
    systems = methanols(range(3000, 3005))
    pairs = [predict_batch(model, systems, uncertainty=True) for model in (small.model, fit.model)]
    for one, other in zip(*pairs, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-9)
        assert one.uncertainty > other.uncertainty


def test_a_basis_has_fixed_hyperparameters() -> None:
    with pytest.raises(ValidationError, match="leave basis or likelihood out"):
        FitSettings(basis=10, hyperparameters="likelihood")
