"""The penalty of dependent functions: none for exact matrices, one for matrices with errors, and what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.training import penalty
from ase_mlwave.models.phisnet.training.penalty import PENALTIES, choose_penalty, density_errors, write_penalty
from tests.models.phisnet.systems import network
from tests.models.phisnet.training.runs import WATERS


@pytest.fixture
def model() -> Any:
    return network("edge_frame", cutoff=15.0).eval()


def _labelled(model: Any, change: float) -> list[Record]:
    """Label waters with the model's own matrices, less ``change`` in the elements of the most dependent combination."""
    records = []
    for record in read_dataset(WATERS)[:2]:
        batch = predict_batch(model, [record])
        H, S = batch.hamiltonians[0], batch.overlaps[0]
        vector = torch.linalg.eigh(S)[1][:, 0]
        matrix = H + change * torch.outer(vector, vector)
        records.append(Record(record.numbers, record.positions, matrices={"hamiltonian": matrix.numpy()}))
    return records


def test_exact_matrices_need_no_penalty(model: Any) -> None:
    errors = density_errors(model, _labelled(model, 0.0))
    np.testing.assert_allclose(errors[:, 0], 0, atol=1e-10)
    assert (np.diff(errors, axis=1) > -1e-12).all()
    assert choose_penalty(model, _labelled(model, 0.0)) == 0


def test_errors_of_dependent_functions_ask_for_one(model: Any) -> None:
    """Beside the labels the model's most dependent combination lies too low."""
    records = _labelled(model, 0.1)
    assert choose_penalty(model, records) > 0
    assert choose_penalty(model, [Record(one.numbers, one.positions) for one in records]) == 0  # not to be measured


def test_rounding_leaves_a_choice(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The density of H2 in a minimal basis is right whatever H is, and the error a negative zero."""
    monkeypatch.setattr(penalty, "density_errors", lambda *_: np.full((1, len(PENALTIES)), -1e-17))
    assert choose_penalty(model, _labelled(model, 0.0)) in PENALTIES


def test_penalty_is_written_into_the_model(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TrainingData(source="waters", sha256="0" * 64, n_records=2)
    ModelFolder.pack("phisnet", model, training_data=data, card="# A model").save(tmp_path / "model")
    monkeypatch.setattr(penalty, "choose_penalty", lambda *_: PENALTIES[3])
    assert write_penalty(tmp_path / "model", []) == PENALTIES[3]
    found: Any = ModelFolder.load(tmp_path / "model").build()
    assert found.config.overlap_penalty == PENALTIES[3]
    record = read_dataset(WATERS)[0]
    before, after = (predict_batch(one, [record]) for one in (model, found))
    torch.testing.assert_close(before.hamiltonians[0], after.hamiltonians[0])
    assert (before.states[0].orbital_energies <= after.states[0].orbital_energies + 1e-12).all()
