"""The readout in closed form: linear in the energy, found again where it is known, the same after an interruption."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.calculators.calculator import InputError
from scipy.spatial.transform import Rotation

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.qdf.batch import with_blocks
from ase_mlwave.models.qdf.inference import predict_batch
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.training import readout
from ase_mlwave.models.qdf.training.normal_equations import NormalEquations
from ase_mlwave.models.qdf.training.readout import fit_readout
from ase_mlwave.models.qdf.training.settings import ReadoutSettings
from ase_mlwave.systems.batch import collate
from tests.models.qdf.networks import random_network

FEW = ReadoutSettings(directions=4, orientations=0, penalties=(1e-12, 1e-9, 1e-6))


def small_network(**settings: int) -> QDF:
    return random_network(dimension=8, readout_width=12, potential_width=4, pair_functions=3, **settings)


def molecules(count: int, seed: int = 0) -> list[Record]:
    """Give distorted water, ammonia and methanol-like clusters of H, C, N and O."""
    rng = np.random.default_rng(seed)
    shape = np.array([[0.0, 0, 0], [1.8, 0, 0], [-0.5, 1.8, 0], [-0.6, -0.7, 1.9]])
    kinds = ([8, 1, 1], [7, 1, 1, 1], [6, 8, 1, 1])
    return [
        Record(np.array(kinds[i % 3]), shape[: len(kinds[i % 3])] + rng.normal(scale=0.1, size=(len(kinds[i % 3]), 3)))
        for i in range(count)
    ]


def labelled(network: QDF, records: list[Record]) -> Dataset:
    answers = predict_batch(network, records, forces=True)
    return Dataset(
        tuple(replace(r, energy=a.energy, forces=a.forces) for r, a in zip(records, answers, strict=True)), "x", "x"
    )


def without_readout(network: QDF) -> QDF:
    network.set_linear_weights(torch.zeros_like(network.linear_weights()))
    return network


@pytest.mark.parametrize("gradients", [0, 3])
def test_energy_is_linear_in_the_readout(gradients: int) -> None:
    network, records = small_network(gradients=gradients), molecules(3)
    batch = with_blocks(collate(records, 12.0))
    with torch.no_grad():
        fixed, features = network.linear_terms(batch)
        energies = network(batch).energies
    atoms = network.references[network.elements_of(batch.numbers)]
    references = torch.zeros(len(records), dtype=torch.float64).index_add(0, batch.system, atoms)
    excess = fixed + features @ network.linear_weights()
    assert torch.allclose(energies, references + excess, rtol=0, atol=1e-11)
    assert excess.abs().min() > 1e-3


def test_known_readout_is_found_again() -> None:
    teacher = small_network()
    train, test = labelled(teacher, molecules(40)), labelled(teacher, molecules(6, seed=9))
    pupil = without_readout(small_network())
    with torch.no_grad():
        pupil.references.zero_()
    fit = fit_readout(pupil, train, test, FEW, rotate=False)
    assert fit.valid_rms < 1e-3
    for answer, record in zip(predict_batch(pupil, list(test), forces=True), test, strict=True):
        assert answer.energy == pytest.approx(record.energy, abs=1e-5)
        assert answer.forces is not None
        assert record.forces is not None
        assert answer.forces == pytest.approx(np.asarray(record.forces), abs=1e-5)
        assert np.abs(record.forces).max() > 1e-4


def test_references_stay_where_they_are_fixed() -> None:
    pupil = without_readout(small_network())
    before = pupil.references.clone()
    data = labelled(small_network(), molecules(9))
    fit_readout(pupil, data, data, FEW, fixed_references=True)
    assert torch.equal(pupil.references, before)
    fit_readout(pupil, data, data, FEW)
    assert not torch.equal(pupil.references, before)


def test_interrupted_fit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = labelled(small_network(), molecules(9))
    whole = without_readout(small_network())
    fit_readout(whole, data, data, FEW, checkpoint=tmp_path / "whole.safetensors", checkpoint_minutes=0.0)
    rows, count = readout._rows, 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == 12:
            raise KeyboardInterrupt
        return rows(*arguments, **options)

    halves, file = without_readout(small_network()), tmp_path / "halves.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(readout, "_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit_readout(halves, data, data, FEW, checkpoint=file, checkpoint_minutes=0.0)
    seen: list[int] = []
    fit_readout(halves, data, data, FEW, checkpoint=file, checkpoint_minutes=0.0, progress=lambda total: seen.append)
    assert seen[0] == 11
    assert sum(seen) == 18
    assert torch.equal(halves.linear_weights(), whole.linear_weights())


def test_interrupt_leaves_the_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C waits for the molecule and writes the file, however new it is; the fit goes on from there."""
    data = labelled(small_network(), molecules(9))
    whole, halves, file = (
        without_readout(small_network()),
        without_readout(small_network()),
        tmp_path / "sums.safetensors",
    )
    fit_readout(whole, data, data, FEW)
    rows, count = readout._rows, 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return rows(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(readout, "_rows", interrupted)
        with pytest.raises(KeyboardInterrupt, match="after molecule 4 of 18"):
            fit_readout(halves, data, data, FEW, checkpoint=file, checkpoint_minutes=10.0)
    seen: list[int] = []
    fit_readout(halves, data, data, FEW, checkpoint=file, progress=lambda total: seen.append)
    assert seen[0] == 4
    torch.testing.assert_close(halves.linear_weights(), whole.linear_weights(), rtol=1e-4, atol=1e-8)


def test_energies_alone_can_be_fitted() -> None:
    data = labelled(small_network(), molecules(30))
    energies = Dataset(tuple(replace(r, forces=None) for r in data), "x", "x")
    pupil = without_readout(small_network())
    fit = fit_readout(pupil, energies, energies, replace_settings(directions=0), rotate=False)
    answers = predict_batch(pupil, list(energies))
    errors = [abs(a.energy - (r.energy or 0.0)) for a, r in zip(answers, energies, strict=True)]
    assert fit.train_rms < 0.1
    assert max(errors) < 1e-6


def test_unsolvable_equations_are_said_to_be_so() -> None:
    data = labelled(small_network(), molecules(3))
    with pytest.raises(ValueError, match="add larger"):
        fit_readout(small_network(), data, data, replace_settings(directions=0, penalties=(1e-40,)))


def test_energy_learns_to_be_the_same_in_all_orientations() -> None:
    teacher, spread = small_network(), {}
    data = labelled(teacher, molecules(12))
    for unit in (1e4, 0.1):
        pupil = without_readout(small_network())
        fit_readout(pupil, data, data, replace_settings(orientations=3, orientation_unit=unit))
        record = data[0]
        turns = Rotation.random(10, rng=0).as_matrix()
        turned = [replace(record, positions=record.positions @ turn.T) for turn in turns]
        spread[unit] = float(np.std([answer.energy for answer in predict_batch(pupil, turned)]))
    assert spread[0.1] < 0.5 * spread[1e4]


def replace_settings(**changes: Any) -> ReadoutSettings:
    return ReadoutSettings.model_validate({**FEW.model_dump(), **changes})


def test_a_distance_that_training_hardly_has_gets_no_large_energy() -> None:
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(200, 4)), rng.normal(size=200)
    rows[:, 2] *= 1e-5  # a pair function in the tail of which all training molecules lie
    sums = NormalEquations.empty(4)
    sums.add(rows, targets)
    assert abs(sums.solve(1e-4, 0)[2]) > 100
    assert abs(sums.solve(1e-4, 0, n_pairs=2)[2]) < 1
    assert sums.solve(1e-4, 0, n_pairs=2)[:2] == pytest.approx(sums.solve(1e-4, 0)[:2], abs=0.1)


def test_one_strange_validation_molecule_does_not_choose_the_penalty() -> None:
    data = labelled(small_network(), molecules(9))
    strange = replace(data[0], energy=(data[0].energy or 0.0) + 10)
    usual = fit_readout(without_readout(small_network()), data, data, FEW)
    mixed = fit_readout(without_readout(small_network()), data, replace(data, records=(*data, strange)), FEW)
    assert mixed.penalty == usual.penalty
    assert mixed.valid_rms < 2 * usual.valid_rms + 1e-9


def test_finished_sums_serve_other_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, file = labelled(small_network(), molecules(9)), tmp_path / "sums.safetensors"
    first, again, fresh = (without_readout(small_network()) for _ in range(3))
    fit_readout(first, data, data, FEW, checkpoint=file)
    other = replace_settings(energy_unit=0.01, penalties=(1e-4,))
    fit_readout(fresh, data, data, other)
    monkeypatch.setattr(readout, "_rows", None)  # nothing is computed again
    fit_readout(again, data, data, other, checkpoint=file)
    assert torch.equal(again.linear_weights(), fresh.linear_weights())
    assert not torch.equal(again.linear_weights(), first.linear_weights())


def test_sums_of_another_fit_are_refused(tmp_path: Path) -> None:
    data, file = labelled(small_network(), molecules(3)), tmp_path / "sums.safetensors"
    fit_readout(small_network(), data, data, FEW, checkpoint=file)
    with pytest.raises(InputError, match="other directions, seed; go on with the same"):
        fit_readout(small_network(), data, data, replace_settings(directions=2), seed=5, checkpoint=file)
