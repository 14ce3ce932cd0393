"""Training on a device gives the numbers of the CPU: steps and closed-form fits, and by `make test-gpu` whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch import Tensor

from ase_mlwave.calculators import load_calculator
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.phisnet.training.run import PhiSNetTraining
from ase_mlwave.models.qdf.training.readout import fit_readout
from ase_mlwave.models.qdf.training.run import QDFTraining
from ase_mlwave.models.training.metrics import read_metrics
from ase_mlwave.models.training.run import Training
from tests.calculators.under_test import CUDA
from tests.models.amons.springs import distorted
from tests.models.phisnet.training import runs
from tests.models.qdf.training import test_readout, test_run
from tests.pretend_device import PRETENDED, PretendDevice

NETWORKS = {
    "phisnet": (PhiSNetTraining, runs.tiny_settings, {"loss": {"energy": 1.0, "forces": 1.0}}),
    "qdf": (QDFTraining, test_run.tiny_settings, {}),
}


@pytest.fixture(params=[PRETENDED, *CUDA])
def accelerator(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give each device but the CPU, and everywhere one that only looks like it."""
    with PretendDevice() if request.param == PRETENDED else nullcontext():
        yield request.param


def _first_step(kind: str, output: Path, device: str) -> dict[str, Tensor]:
    """Give the terms of the loss of the first step and of a validation, and the gradient."""
    training, settings, changes = NETWORKS[kind]
    run: Any = training(settings(output, **changes), resume=False, progress=False)
    data = read_dataset(runs.WATERS)
    module, batches = run.prepare(data.split("train"), data.split("valid"))
    module.to(device)
    steps = batches.train_batches(range(1), torch.device(device))
    terms = module.training_step(next(steps), 0)
    steps.close()
    terms["loss"].backward(inputs=module.trained)
    module.update_average(0.5)
    _, validation = next(iter(batches.valid_batches(torch.device(device))))
    errors = module.validation_step(module.average, validation)
    gradients = {name: p.grad for name, p in module.network.named_parameters() if p.grad is not None}
    assert {gradient.device.type for gradient in gradients.values()} == {device}
    return {name: value.detach().cpu() for name, value in {**terms, **errors, **gradients}.items()}


@pytest.mark.parametrize("kind", NETWORKS)
def test_first_step_on_a_device_is_that_on_the_cpu(kind: str, accelerator: str, tmp_path: Path) -> None:
    expected = _first_step(kind, tmp_path / "cpu", "cpu")
    found = _first_step(kind, tmp_path / "device", accelerator)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()), msg=name)


@pytest.mark.parametrize(("loss", "most"), [({}, 0), ({"energy": 1.0, "forces": 1.0}, 8)])
def test_step_on_molecules_not_seen_before_hardly_waits(loss: dict[str, float], most: int, tmp_path: Path) -> None:
    """What a network and its integrals need of them comes with the batch; to solve for orbitals asks for some sizes."""
    run = PhiSNetTraining(runs.tiny_settings(tmp_path, loss=loss), resume=False, progress=False)
    data = read_dataset(runs.WATERS)
    with PretendDevice() as device:
        module, batches = run.prepare(data.split("train"), data.split("valid"))
        module.to(PRETENDED)
        three, _ = batches.train_batches(range(2), torch.device(PRETENDED))
        _, two = next(iter(batches.valid_batches(torch.device(PRETENDED))))
        for batch in (three, two):  # the first finds constants
            before = device.n_crossings
            module.training_step(batch, 0)["loss"].backward(inputs=module.trained)
    assert len(three.n_occupied) > len(two.n_occupied)
    assert device.n_crossings - before <= most


def test_readout_fitted_on_a_device_is_that_of_the_cpu(accelerator: str) -> None:
    networks = [test_readout.small_network() for _ in range(2)]
    training, validation = (
        test_readout.labelled(test_readout.small_network(), test_readout.molecules(6, seed)) for seed in (1, 2)
    )
    directions = 0 if accelerator == PRETENDED else 4  # PyTorch's vmap does not take what is pretended
    # with the smallest penalty, 1e-12, rounding alone moves weights by 1e-3, and energies by 1e-7
    settings = test_readout.FEW.model_copy(update={"directions": directions, "penalties": (1e-6,)})
    for network, device in zip(networks, ("cpu", accelerator), strict=True):
        fit_readout(network.to(device), training, validation, settings, rotate=False)
    one, other = (deepcopy(network).cpu().linear_weights() for network in networks)
    torch.testing.assert_close(other, one, rtol=0, atol=1e-6 * float(one.abs().max()))


@pytest.mark.parametrize("basis", [None, 6])
def test_amons_fitted_on_a_device_are_those_of_the_cpu(basis: int | None, accelerator: str) -> None:
    records = [record for formula in ("H2O", "CH3OH") for record in distorted(formula, range(2))]
    settings = FitSettings(penalty=1e-5, force_penalty=1e-5, directions=4, basis=basis)
    free_atoms = {1: -0.5, 6: -37.8, 8: -75.0}
    predictions = []
    for device in ("cpu", accelerator):
        fit = fit_amons(records, "springs", settings, free_atoms=free_atoms, device=device)
        assert fit.model.device.type == device
        predictions.append(predict_batch(fit.model, records, forces=True, uncertainty=True))
    for one, other in zip(*predictions, strict=True):
        assert other.energy == pytest.approx(one.energy, abs=1e-8)
        np.testing.assert_allclose(other.forces, one.forces, atol=1e-8)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", NETWORKS)
def test_run_on_a_gpu_learns_as_on_the_cpu(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "_measure", lambda *arguments: None)
    training, settings, changes = NETWORKS[kind]
    losses = {}
    for accelerator in ("cpu", "gpu"):
        output = tmp_path / accelerator
        training.train(settings(output, **changes, precision="float64", accelerator=accelerator), progress=False)
        curves = read_metrics(output / "metrics")
        losses[accelerator] = [*curves["train/loss"].values(), *curves["valid/loss"].values()]
    assert losses["gpu"] == pytest.approx(losses["cpu"], rel=1e-4)
    water = molecule("H2O")
    water.rattle(0.03, seed=1)
    options: dict[str, Any] = {"outside": "warn"}
    energies = [
        load_calculator(tmp_path / "gpu" / "model", device=device, **options).get_potential_energy(water)
        for device in ("cpu", "cuda")
    ]
    assert energies[1] == pytest.approx(energies[0], abs=1e-8)
