"""The order of molecules in training."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import pytest

from ase_mlwave.models.training.sampler import EpochSampler


def _drawn(epochs: int, **arguments: Any) -> list[list[int]]:
    chosen = {"n": 10, "batch_size": 3, "steps": 4, "seed": 5, **arguments}
    n, batch_size, steps = (chosen.pop(name) for name in ("n", "batch_size", "steps"))
    return [batch for epoch in range(epochs) for batch in EpochSampler(n, batch_size, steps, epoch=epoch, **chosen)]


def test_every_molecule_comes_once_per_pass() -> None:
    drawn = list(chain.from_iterable(_drawn(5)))  # 60 molecules: six passes through ten
    passes = [drawn[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(part) == list(range(10)) for part in passes)
    assert len({tuple(part) for part in passes}) == 6


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert _drawn(3) == _drawn(3)
    assert list(EpochSampler(10, 3, 4, seed=5, epoch=2)) == _drawn(3)[8:]
    assert _drawn(3) != _drawn(3, seed=6)


def test_sampler_can_be_read_twice() -> None:
    sampler = EpochSampler(10, 3, 4, seed=1, epoch=1)
    assert len(sampler) == 4
    assert list(sampler) == list(sampler)


@pytest.mark.parametrize("n", [2, 10])
def test_processes_share_a_wide_batch(n: int) -> None:
    wide = _drawn(2, n=n, batch_size=6)
    parts = [_drawn(2, n=n, batch_size=2, rank=rank, world_size=3) for rank in range(3)]
    assert [list(chain.from_iterable(batches)) for batches in zip(*parts, strict=True)] == wide


def test_small_sets_fill_large_batches() -> None:
    assert sorted(_drawn(1, n=2, batch_size=4, steps=1)[0]) == [0, 0, 1, 1]


def test_last_epoch_ends_with_the_run() -> None:
    lengths = [len(EpochSampler(10, 3, 4, seed=5, epoch=epoch, total=9)) for epoch in range(3)]
    assert lengths == [4, 4, 1]
    drawn = [batch for epoch in range(3) for batch in EpochSampler(10, 3, 4, seed=5, epoch=epoch, total=9)]
    assert drawn == _drawn(3)[:9]


SIZES = [9, 1, 5, 7, 3, 2, 8, 6, 4, 0]


def test_buckets_hold_what_would_be_drawn_anyway() -> None:
    """Of every bucket of four batches the molecules are the same, and within it no batch overlaps another in size."""
    plain, sorted_ = _drawn(3), _drawn(3, sizes=SIZES, bucketing=4)
    for start in range(0, 12, 4):
        some = sorted_[start : start + 4]
        assert sorted(chain.from_iterable(some)) == sorted(chain.from_iterable(plain[start : start + 4]))
        spans = sorted((min(SIZES[i] for i in batch), max(SIZES[i] for i in batch)) for batch in some)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
    first = [sum(SIZES[i] for i in batch) for batch in sorted_]
    assert first != sorted(first)  # small ones do not come first


@pytest.mark.parametrize("bucketing", [1, 4])
def test_processes_share_a_bucket(bucketing: int) -> None:
    options = {"sizes": SIZES, "bucketing": bucketing}
    wide = [sorted(batch) for batch in _drawn(2, batch_size=6, **options)]
    parts = [_drawn(2, batch_size=2, rank=rank, world_size=3, **options) for rank in range(3)]
    assert [sorted(chain.from_iterable(batches)) for batches in zip(*parts, strict=True)] == wide
