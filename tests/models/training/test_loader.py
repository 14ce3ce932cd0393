"""A thread that works ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from ase_mlwave.models.training.loader import RunData, ahead


def _numbers(n: int, done: list[int], fault: int | None = None) -> Iterator[int]:
    for number in range(n):
        if number == fault:
            raise ValueError("no batch")
        done.append(number)
        yield number


def test_order_stays_and_errors_come_in_their_turn() -> None:
    assert list(ahead(_numbers(7, []), 3)) == list(range(7))
    assert list(ahead(_numbers(0, []), 3)) == []
    items = ahead(_numbers(7, [], fault=4), 3)
    assert list(islice(items, 4)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no batch"):
        next(items)


def test_no_more_than_a_few_wait_and_the_thread_ends() -> None:
    before, done = threading.active_count(), []
    items = ahead(_numbers(100, done), 2)
    assert next(items) == 0
    for _ in range(200):
        threading.Event().wait(0.001)
    assert len(done) <= 4  # that one, two that wait and the one in work
    items.close()
    assert threading.active_count() == before


def test_batches_are_those_of_the_sampler_whatever_step_they_start_from() -> None:
    data = RunData(list("abcdefgh"), "ab", "".join, batch_size=3, seed=1, sizes=range(8), bucketing=4)
    whole = list(data.train_batches(range(10)))
    assert list(data.train_batches(range(7, 10))) == whole[7:]
    assert [sorted(batch) for batch in whole] != [sorted(batch) for batch in data.train_batches(range(10), rank=1)]
    assert list(data.valid_batches()) == [(2, "ab")]
