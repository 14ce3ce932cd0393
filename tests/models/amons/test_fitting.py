"""Fitting: the published example, and the laws of what comes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.calculators.calculator import InputError
from ase.data import atomic_numbers

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import Fit, fit_amons
from ase_mlwave.models.amons.inference import force_uncertainty, predict_batch
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR
from tests.models.amons.springs import methanols

DEMO = json.loads(Path(__file__).with_name("files").joinpath("phenylacetaldehyde.json").read_text(encoding="utf-8"))
KCAL = 627.509474


def demo_record(entry: dict[str, Any]) -> Record:
    numbers = np.array([atomic_numbers[symbol] for symbol in entry["symbols"]])
    info = {"smiles": entry["smiles_rdkit"], "n_heavy": entry["n_heavy"]}
    return Record(numbers, np.array(entry["positions"]) / BOHR, energy=entry["energy_hartree"], info=info)


def test_learning_curve_of_the_public_program() -> None:
    amons, target = [demo_record(entry) for entry in DEMO["amons"]], demo_record(DEMO["target"])
    free_atoms = {atomic_numbers[symbol]: energy for symbol, energy in DEMO["atomic_energies_hartree"].items()}
    settings = SlatmConfig(elements=("H", "C", "O"), smooth=False, distance_step=0.04, angle_step=0.04)
    published = FitSettings(baseline="published")
    geometries = [target, *amons]
    for k, expected in DEMO["expected_error_kcal_per_mol_by_k"].items():
        known = [record for record in amons if record.info["n_heavy"] <= int(k)]
        if k == "1":  # methane alone knows no oxygen: a free atom
            known = [*known, replace(target, numbers=np.array([8]), positions=np.zeros((1, 3)), energy=free_atoms[8])]
        fit = fit_amons(known, "b3lyp", published, representation=settings, others=geometries, free_atoms=free_atoms)
        (found,) = predict_batch(fit.model, geometries[:1], uncertainty=True)
        assert (found.energy - target.energy) * KCAL == pytest.approx(expected, abs=1e-3)
    assert found.uncertainty * KCAL == pytest.approx(0.49, abs=0.2)  # beside the error of 0.23


@pytest.fixture(scope="module")
def fit() -> Fit:
    return fit_amons(methanols(range(6)), "springs", FitSettings(penalty=1e-8, force_penalty=1e-8), free_atoms=FREE)


FREE = {1: -0.5, 6: -37.8, 8: -75.0}


def test_training_molecules_are_fitted(fit: Fit) -> None:
    records = methanols(range(6))
    for found, record in zip(predict_batch(fit.model, records, forces=True), records, strict=True):
        assert found.energy == pytest.approx(record.energy, abs=1e-5)
        np.testing.assert_allclose(found.forces, record.forces, atol=1e-4)


def test_forces_are_minus_the_derivative_of_the_energy(fit: Fit) -> None:
    (record,) = methanols([78])
    (found,) = predict_batch(fit.model, [record], forces=True)
    rng = np.random.default_rng(0)
    for along in rng.normal(size=(3, len(record), 3)):
        moved = [System(record.numbers, record.positions + step * along) for step in (1e-4, -1e-4)]
        plus, minus = predict_batch(fit.model, moved)
        expected = -np.sum(found.forces * along)
        assert (plus.energy - minus.energy) / 2e-4 == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_batch_is_its_molecules(fit: Fit) -> None:
    systems = methanols([50, 51, 52])
    for one, single in zip(predict_batch(fit.model, systems, forces=True, uncertainty=True), systems, strict=True):
        (alone,) = predict_batch(fit.model, [single], forces=True, uncertainty=True)
        assert one.energy == pytest.approx(alone.energy, abs=1e-10)
        assert one.uncertainty == pytest.approx(alone.uncertainty, rel=1e-6)
        np.testing.assert_allclose(one.forces, alone.forces, atol=1e-10)
        np.testing.assert_allclose(one.novelty, alone.novelty, atol=1e-6)


def test_uncertainty_grows_away_from_the_training_set(fit: Fit) -> None:
    (known,), (new,) = methanols([0]), methanols([60])
    stretched = replace(new, positions=new.positions * 1.3)
    found = predict_batch(fit.model, [known, new, stretched], uncertainty=True)
    deviations = [one.uncertainty for one in found]
    assert deviations == sorted(deviations)
    assert deviations[1] > 2 * deviations[0]
    assert deviations[2] > 2 * deviations[1]
    assert found[0].novelty.max() < 1e-5 < found[1].novelty.min()
    of_forces = [force_uncertainty(fit.model, one) for one in (known, stretched)]
    assert of_forces[0].shape == (len(known), 3)
    assert of_forces[1].max() > 2 * of_forces[0].max()


def test_variance_of_forces_is_that_of_differences(fit: Fit) -> None:
    """A far-away molecule has the prior's variance; its force's is the second difference of the prior's covariance."""
    (record,) = methanols([79])
    whole = force_uncertainty(fit.model, record)
    assert np.isfinite(whole).all()
    assert whole.min() > 0
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turned = force_uncertainty(fit.model, System(record.numbers, record.positions @ turn.T))
    np.testing.assert_allclose((turned**2).sum(axis=1), (whole**2).sum(axis=1), rtol=1e-4)


def test_state_makes_the_same_model(fit: Fit) -> None:
    again = AmonModel(fit.model.config)
    again.load_state_dict(fit.model.state_dict())
    systems = methanols([50])
    one, other = (
        predict_batch(m, systems, forces=True, uncertainty=True)[0] for m in (fit.model, again.cast(torch.float32))
    )
    assert one.energy == other.energy
    assert one.uncertainty == other.uncertainty


def test_many_rows_leave_variances_to_the_energies() -> None:
    records = methanols(range(3))
    few = fit_amons(records, "springs", FitSettings(variance_rows=10), free_atoms=FREE).model
    assert few.config.n_rows == 3
    assert few.factor.shape == (3, 3)
    full = fit_amons(records, "springs", FitSettings(), free_atoms=FREE).model
    assert full.config.n_rows == 3 + 3 * 18
    systems = methanols([50])
    (one,), (other,) = predict_batch(few, systems, uncertainty=True), predict_batch(full, systems, uncertainty=True)
    assert one.energy == pytest.approx(other.energy, abs=1e-10)
    assert one.uncertainty / float(few.amplitude) ** 0.5 > other.uncertainty / float(full.amplitude) ** 0.5


def test_random_directions_and_energies_alone() -> None:
    records = methanols(range(3))
    some = fit_amons(records, "springs", FitSettings(directions=4), free_atoms=FREE, seed=1).model
    again = fit_amons(records, "springs", FitSettings(directions=4), free_atoms=FREE, seed=1).model
    assert some.config.n_directions == 12
    assert torch.equal(some.factor, again.factor)
    none = fit_amons(records, "springs", FitSettings(directions=0), free_atoms=FREE).model
    assert none.config.n_directions == 0
    assert none.config.blocks["H"].vectors == 0


def test_bad_training_sets_are_refused() -> None:
    with pytest.raises(InputError, match="no training molecules"):
        fit_amons([], "springs")
    (record,) = methanols([0])
    with pytest.raises(InputError, match=r"training molecule 0 \(CO\) has no energy"):
        fit_amons([replace(record, energy=None)], "springs")
    with pytest.raises(ValueError, match=r"training molecule 0 \(CO\) and training molecule 1 \(CO\) coincide"):
        fit_amons([record, record], "springs", FitSettings(penalty=0, directions=0), free_atoms=FREE)


def test_only_drawn_molecules_have_a_say_in_the_hyperparameters() -> None:
    records = methanols(range(6))
    settings = FitSettings(hyperparameters="likelihood", likelihood_molecules=3, directions=3)
    drawn = np.random.default_rng(0).permutation(6)[:3].tolist()

    def chosen(index: int | None) -> FitSettings:
        """Fit with the forces of one molecule doubled."""
        changed = [r if n != index else replace(r, forces=2 * r.forces) for n, r in enumerate(records)]
        return fit_amons(changed, "springs", settings, free_atoms=FREE).model.config.fit

    left_out = next(index for index in range(6) if index not in drawn)
    assert chosen(left_out) == chosen(None) != chosen(drawn[0])


def test_few_rows_have_no_say_in_the_hyperparameters() -> None:
    """What the baseline leaves of a few energies is zero, and then any widths are as likely as others."""
    given = [FitSettings(hyperparameters="likelihood", directions=n) for n in (0, 3)]
    fits = [fit_amons(methanols(range(6)), "springs", one, free_atoms=FREE).model.config.fit for one in given]
    assert [found == one for found, one in zip(fits, given, strict=True)] == [True, False]


def test_loaded_weights_count_at_once(fit: Fit) -> None:
    stiffer = [replace(record, forces=2 * record.forces) for record in methanols(range(6))]
    other = fit_amons(stiffer, "springs", FitSettings(penalty=1e-8, force_penalty=1e-8), free_atoms=FREE).model
    model, system = AmonModel(fit.model.config), [methanols([7])[0]]
    for source in (fit.model, other):
        model.load_state_dict(source.state_dict())
        (found,), (expected,) = (predict_batch(one, system, uncertainty=True) for one in (model, source))
        assert found.energy == expected.energy
        assert found.uncertainty == expected.uncertainty
