"""The wavefunction energy of molecules, alone and far apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.energy import n_occupied
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.losses import predict_batch
from ase_mlwave.models.phisnet.training.prepared import Preparation, PreparedDataset, join
from ase_mlwave.models.phisnet.training.statistics import fit_statistics
from tests.models.phisnet.systems import network
from tests.models.phisnet.training.runs import WATERS


def _energy(model: PhiSNet, numbers: np.ndarray, positions: np.ndarray) -> float:
    config = model.config
    preparation = Preparation(config.basis, config.baseline, short_range=config.short_range)
    prepared = PreparedDataset([Record(numbers=numbers, positions=positions)], preparation)
    with torch.no_grad():
        prediction = predict_batch(model, join(list(prepared), config.cutoff), energies=True, forces=False)
    assert prediction.energies is not None
    return float(prediction.energies[0])


def _interaction(*, short_range: bool, distance: float) -> float:
    """Energy of two waters of different shape minus that of each, Hartree."""
    data = read_dataset(WATERS)
    model = network("edge_frame", short_range=short_range, cutoff=15.0)
    fit_statistics(model, PreparedDataset(data.records, Preparation("def2-svp", "sap", short_range=short_range)))
    first, second = data[0], data[1]
    moved = second.positions + np.array([distance, 0.0, 0.0])
    both = np.concatenate([first.numbers, second.numbers]), np.concatenate([first.positions, moved])
    alone = _energy(model, first.numbers, first.positions) + _energy(model, second.numbers, second.positions)
    return _energy(model, *both) - alone


def test_wavefunction_energy_is_size_consistent() -> None:
    assert abs(_interaction(short_range=True, distance=40.0)) < 1e-8


def test_bare_coulomb_terms_are_not_size_consistent() -> None:
    """The reason for short-range terms: the matrix does not know what h and the nuclei tell of distant charges."""
    assert abs(_interaction(short_range=False, distance=40.0)) > 1e-6


def test_closed_shells_are_counted() -> None:
    assert n_occupied(torch.tensor([8, 1, 1])) == 5
    assert n_occupied(torch.tensor([8, 1]), charge=-1) == 5
    with pytest.raises(ValueError, match="9 electrons do not make a closed shell"):
        n_occupied(torch.tensor([8, 1]))
