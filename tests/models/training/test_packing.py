"""Batches in one piece of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ase_mlwave.models.training.packing import PackedBatch

CPU, META = torch.device("cpu"), torch.device("meta")


@dataclass(frozen=True)
class _Inner:
    places: Tensor
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class _Batch:
    inner: _Inner
    several: tuple[Tensor, ...]
    named: Mapping[str, Tensor]
    missing: Tensor | None


def _batch() -> _Batch:
    inner = _Inner(torch.arange(7)[::2], (3, 4))
    several = (torch.tensor(True), torch.empty(0, 3, dtype=torch.float64))
    return _Batch(inner, several, {"a": torch.rand(5, 3).mT, "b": torch.rand(3, dtype=torch.float64)}, None)


def _tensors(batch: _Batch) -> list[Tensor]:
    return [batch.inner.places, *batch.several, *batch.named.values()]


def test_unpacked_batch_is_the_batch() -> None:
    """Values, shapes and types, through one piece of memory; for the CPU the batch itself."""
    batch, packed = _batch(), PackedBatch(_batch(), META)
    assert PackedBatch(batch, CPU).unpack() is batch
    packed = PackedBatch(batch, META)
    packed.device = CPU
    found = packed.unpack()
    for one, other in zip(_tensors(batch), _tensors(found), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)
    assert len({tensor.untyped_storage().data_ptr() for tensor in _tensors(found)}) == 1
    assert found.inner.sizes == batch.inner.sizes
    assert found.missing is None


@pytest.mark.parametrize("device", [META, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)])
def test_batch_is_on_its_device(device: torch.device) -> None:
    found = PackedBatch(_batch(), device).unpack()
    assert all(tensor.device.type == device.type for tensor in _tensors(found))
