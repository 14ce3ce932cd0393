"""Batches by the free memory: of a device that is not there, so that its figures are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.calculator import CalculationFailed

from ase_mlwave.models import memory
from ase_mlwave.models.memory import Batches, allocated_bytes, free_bytes
from ase_mlwave.systems.system import System

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Device:
    """A device of 1,000 bytes; structures take ``bytes_each`` while their batch is computed."""

    def __init__(self, bytes_each: float) -> None:
        self.bytes_each, self.peak = bytes_each, 0
        self.sizes: list[int] = []

    def work(self, batch: list[System]) -> list[int]:
        self.sizes.append(len(batch))
        needed = round(self.bytes_each * len(batch))
        self.peak = max(self.peak, min(needed, 1000))
        if needed > 1000:
            raise torch.OutOfMemoryError("pretend")
        return [len(system) for system in batch]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    one = Device(10.0)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 1000.0)
    monkeypatch.setattr(memory, "allocated_bytes", lambda _: (0, one.peak))
    return one


def _molecules(*sizes: int) -> list[System]:
    return [System(np.ones(n, dtype=np.int64), 3.0 * np.eye(n, 3) + np.arange(n)[:, None]) for n in sizes]


def _compute(device: Device, batches: Batches, systems: list[System], each: float, size: int | None = None) -> None:
    computed = list(batches.compute(device.work, systems, lambda _: each, size))
    assert [system for batch, _ in computed for system in batch] == systems, "each once, in order"
    assert [n for _, results in computed for n in results] == [len(system) for system in systems]


def test_batches_keep_to_a_part_of_the_free_memory(device: Device) -> None:
    _compute(device, Batches(GPU, 1), _molecules(*[2] * 100), each=10.0)
    assert device.sizes == [40, 40, 20]


def test_batches_grow_to_what_is_measured(device: Device) -> None:
    batches = Batches(GPU, 1)
    _compute(device, batches, _molecules(*[2] * 100), each=40.0)
    assert device.sizes == [10, 40, 40, 10]
    _compute(device, batches, _molecules(*[2] * 50), each=40.0)
    assert device.sizes[4:] == [40, 10]


def test_batches_shrink_to_what_is_measured(device: Device) -> None:
    _compute(device, Batches(GPU, 1), _molecules(*[2] * 100), each=5.0)
    assert device.sizes == [80, 20]  # the last is what is left
    _compute(device, batches := Batches(GPU, 1), _molecules(*[2] * 120), each=8.0)
    assert device.sizes[2:] == [50, 50, 20], "no new peak, nothing learned"
    device.peak = 0
    _compute(device, batches, _molecules(*[2] * 120), each=8.0)
    assert device.sizes[5:] == [50, 40, 30]


def test_batch_that_does_not_fit_is_halved(device: Device) -> None:
    device.bytes_each = 90.0
    _compute(device, Batches(GPU, 1), _molecules(*[2] * 60), each=20.0)
    assert device.sizes == [20, 10, 10, *[10] * 4], "the next ones are smaller from the start"
    device.bytes_each = 2000.0
    with pytest.raises(CalculationFailed, match="H5 does not fit the device's memory"):
        _compute(device, Batches(GPU, 1), _molecules(5), each=1.0)


def test_nothing_is_asked_at_a_step_of_a_simulation(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    for figure in ("free_bytes", "allocated_bytes"):
        monkeypatch.setattr(memory, figure, lambda _: pytest.fail("asked the device"))
    _compute(device, Batches(GPU, 1), _molecules(2), each=10.0)


def test_a_size_that_is_given_counts(device: Device) -> None:
    _compute(device, Batches(CPU, 1), _molecules(*[2] * 5), each=1e9, size=3)
    assert device.sizes == [3, 2]
    assert list(Batches(CPU, 1).compute(device.work, [], lambda _: 1.0)) == []


def test_batches_on_cpus_are_bounded_by_pairs(device: Device) -> None:
    for sizes in ((2, 2, 2, 9, 2), (9, 2, 2)):
        _compute(device, Batches(CPU, 8), _molecules(*sizes), each=1.0)
    assert device.sizes == [2, 1, 1, 1, *(1, 2)]


def test_free_memory_of_the_host_is_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert free_bytes(CPU) == float("inf")
    memory._MEMINFO.write_text("MemTotal:       24 kB\nMemAvailable:       12 kB\n")
    assert free_bytes(CPU) == 12 * 1024
    assert free_bytes(torch.device("meta")) == float("inf")
    assert allocated_bytes(CPU) == (0, 0)


@pytest.mark.gpu
def test_memory_of_a_gpu_is_counted() -> None:
    before, free = allocated_bytes(GPU)[0], free_bytes(GPU)
    tensor = torch.zeros(2**26, dtype=torch.uint8, device=GPU)
    now, peak = allocated_bytes(GPU)
    assert now - before == len(tensor) <= peak
    assert free - free_bytes(GPU) == pytest.approx(len(tensor), abs=2**24)
