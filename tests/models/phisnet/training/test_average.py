"""The average of the weights predicts by what it is, not by what it was at the first validation."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.settings import LossWeights
from tests.models.phisnet.systems import assert_equal, geometry, joined, network


@torch.no_grad()
def _hamiltonian(model: PhiSNet) -> Tensor:
    return model(joined([geometry("HHH")], model.config.cutoff)).hamiltonian.flat


def test_average_follows_kernels_that_count_no_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_on_a_gpu(averages: list[Tensor], weights: list[Tensor], share: float) -> None:
        for average, weight in zip(averages, weights, strict=True):
            average.data.lerp_(weight.data, share)  # which leaves the version of the average as it is

    monkeypatch.setattr(torch, "_foreach_lerp_", as_on_a_gpu)
    options: Any = {"max_order": 2, "max_unnatural_order": 1, "elements": ("H",)}
    module = PhiSNetModule(network("edge_frame", **options), LossWeights())
    before = _hamiltonian(module.average)
    with torch.no_grad():
        for weight in module.trained:
            weight.mul_(1.1)
    module.update_average(0.5)
    after = _hamiltonian(module.average)
    assert (after - before).abs().max() > 1e-3
    assert_equal(after, _hamiltonian(deepcopy(module.average)))  # a copy keeps nothing
