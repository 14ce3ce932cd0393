"""What is kept of a batch's elements and pairs: passes that neither wait for a device nor copy anything to it."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ase_mlwave.models.phisnet.model import PhiSNet
from tests.models.phisnet.systems import PRODUCTS, assert_equal, geometry, joined, matrices, network, predict


class _OnOneDevice(TorchDispatchMode):
    """Refuse operations on tensors of the host, single numbers excepted."""

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        tensors = [a for a in (*arguments, *(options or {}).values()) if isinstance(a, Tensor)]
        assert not [t for t in tensors if t.device.type == "cpu" and t.dim()], f"{operation} of a tensor of the host"
        return operation(*arguments, **(options or {}))


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("message_cutoff", [None, 2.0])
def test_pass_stays_on_its_device(product: str, message_cutoff: float | None, meta: str) -> None:
    """On the device that holds no data, whatever asked for a value or an upload would fail."""
    model = network(product, message_cutoff=message_cutoff)
    batch = joined([geometry("OCHH", 1), geometry("OHH", 2)], model.config.cutoff)
    model(batch).hamiltonian.flat.sum().backward()  # constants are found once
    model.to(meta)
    plan, batch = model.plan(batch), batch.to(meta)
    for mode in (nullcontext(), _OnOneDevice()):  # first what is made once on each device
        moving = batch.at(batch.positions.requires_grad_())
        with mode:
            output = model(moving, plan)
            total = output.hamiltonian.flat.sum() + output.atomic_energies.sum() + output.distances.sum()
            slopes = torch.autograd.grad(total, [moving.positions, *model.parameters()], allow_unused=True)
    assert slopes[0].shape == batch.positions.shape
    assert output.hamiltonian.flat.device.type == meta


def test_plan_is_kept_for_the_same_pairs() -> None:
    model = network("edge_frame")
    first, second, other = (joined([geometry(s, n)], 20.0) for s, n in (("OHH", 1), ("OHH", 2), ("HOH", 1)))
    assert model.plan(first) is model.plan(second)
    assert model.plan(first) is not model.plan(other)


def test_changed_weights_are_noticed() -> None:
    """Frozen weights are packed once; those that change, are cast or trained afterwards are packed again."""
    model = network("edge_frame").requires_grad_(False)
    once = _hamiltonian(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.1
    changed = _hamiltonian(model)
    assert float((changed - once).abs().max()) > 1e-3
    fresh = network("edge_frame")
    fresh.load_state_dict(model.state_dict())
    assert_equal(changed, _hamiltonian(fresh))
    assert 1e-12 < float((_hamiltonian(model.cast(torch.float32)) - changed).abs().max()) < 1e-2
    model.load_state_dict(network("edge_frame").state_dict())
    assert_equal(_hamiltonian(model.cast(torch.float64)), once, 1e-4)


def test_messages_of_short_range_leave_blocks_of_long_range() -> None:
    numbers, positions = geometry("OCHH", 1)
    positions[3] = positions[0] + [5.0, 0.0, 0.0]
    whole, short = (network("edge_frame", message_cutoff=c) for c in (None, 4.0))
    short.load_state_dict(whole.state_dict())
    H = matrices(predict(short, (numbers, positions)), "hamiltonian")[0]
    assert float(H[:14, -5:].abs().max()) > 1e-6
    assert float((H - matrices(predict(whole, (numbers, positions)), "hamiltonian")[0]).abs().max()) > 1e-3
    moved = positions + np.eye(4, 3, -3) * 0.3
    assert_equal(
        predict(short, (numbers, moved)).atomic_energies[:3], predict(short, (numbers, positions)).atomic_energies[:3]
    )


@pytest.mark.parametrize("product", PRODUCTS)
def test_messages_fade_before_their_cutoff(product: str) -> None:
    model = network(product, message_cutoff=4.0)
    numbers, positions = geometry("OH", 1)
    positions[1] = positions[0] + [3.98, 0.0, 0.0]
    near = predict(model, (numbers, positions)).atomic_energies
    positions[1] += [0.04, 0.0, 0.0]
    assert float((near - predict(model, (numbers, positions)).atomic_energies).abs().max()) < 1e-12


def test_bf16_messages_add_up_in_single_precision() -> None:
    model = network("edge_frame").cast(torch.float32)
    batch = joined([geometry("OCHH", 1)], model.config.cutoff)
    expected = model(batch).hamiltonian.flat.detach()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch)
    (output.hamiltonian.flat.square().sum()).backward()
    assert output.hamiltonian.flat.dtype == torch.float64
    actual = output.hamiltonian.flat.detach()
    assert_equal(actual, expected, 0.02)
    assert float((actual - expected).abs().max()) > 1e-5
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def _hamiltonian(model: PhiSNet) -> Tensor:
    return matrices(predict(model, geometry("OCHH")), "hamiltonian")[0]
