"""The device that the contract suite pretends: numbers of the CPU, and the errors of a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.pretend_device import PRETENDED, PretendDevice


@pytest.fixture(autouse=True)
def device() -> Iterator[PretendDevice]:
    with PretendDevice() as device:
        yield device


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: there @ here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: there.index_add(0, torch.zeros(3, dtype=torch.int64), there),
        lambda there, here: torch.where(here > 0, there, 0.0),
        lambda there, here: there.mul_(here),
    ],
)
def test_tensors_of_device_and_host_do_not_mix(mix: Callable[[Tensor, Tensor], Tensor]) -> None:
    there, here = torch.ones(3, 3, device=PRETENDED), torch.ones(3, 3)
    with pytest.raises(RuntimeError, match="of the device and of the host"):
        mix(there, here)


def test_numpy_takes_no_tensor_of_the_device() -> None:
    there = torch.ones(3, device=PRETENDED)
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()
    np.testing.assert_array_equal(there.cpu().numpy(), np.ones(3))


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient[[0]].expand_as(gradient) * torch.tensor([2.0], device=gradient.device)


def _energy(x: Tensor) -> Tensor:
    """Use what the networks use: views, writing in place, indices, an eigenproblem, a custom reduction."""
    pairs = torch.triu_indices(len(x), len(x), 1, device=x.device)
    r = (x[pairs[0]] - x[pairs[1]]).norm(dim=1)
    matrix = x.new_zeros(len(x), len(x))
    matrix[pairs[0], pairs[1]] = torch.exp(-r)
    matrix[0, [1, 2]] *= 2
    levels = torch.linalg.eigvalsh(matrix + matrix.mT)
    per_atom = x.new_zeros(len(x)).index_add(0, pairs[0], r) * torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device)
    return _Doubled.apply(levels.view(2, 2)[0] ** 2).sum() + per_atom.sum() * x.new_tensor(0.5)


def test_values_and_derivatives_are_those_of_the_host() -> None:
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    results = []
    for device in ("cpu", PRETENDED):
        x = points.to(device, copy=True).requires_grad_()
        energy = _energy(x)
        (slope,) = torch.autograd.grad(energy, x, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.square().sum(), x)
        assert slope.device.type == device
        results.append([value.detach().cpu() for value in (energy, slope, curvature)])
    for here, there in zip(*results, strict=True):
        assert torch.equal(here, there)


def test_modules_move_and_change_their_precision() -> None:
    layer = torch.nn.Linear(3, 2)
    expected = layer.double()(torch.ones(3, dtype=torch.float64))
    weights = {name: value.clone() for name, value in layer.state_dict().items()}
    moved = torch.nn.Linear(3, 2).to(PRETENDED).double()
    moved.load_state_dict(weights)
    assert torch.equal(moved(torch.ones(3, dtype=torch.float64, device=PRETENDED)).cpu(), expected)


@pytest.mark.parametrize(
    ("operation", "n_crossings"),
    [
        (lambda x: x.cpu(), 1),
        (lambda x: x.sum().item(), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x[torch.tensor([0])], 1),
        (lambda x: x[[0]], 1),
        (lambda x: x + torch.ones(3).to(PRETENDED), 1),
        (lambda x: bool((x > 0).all()), 1),
        (lambda x: (x[0] * 2 + x.flip(0)).sum(), 0),
    ],
)
def test_what_a_gpu_would_wait_for_is_counted(
    operation: Callable[[Tensor], Any], n_crossings: int, device: PretendDevice
) -> None:
    x = torch.ones(3, device=PRETENDED)
    before = device.n_crossings
    operation(x)
    assert device.n_crossings - before == n_crossings
