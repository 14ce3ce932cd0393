"""The learning rate and the average of weights over a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ase_mlwave.models.training.module import TrainedModule
from ase_mlwave.models.training.settings import OptimiserSettings, Schedule


def _schedule(steps: int, **chosen: Any) -> Schedule:
    return Schedule(OptimiserSettings(**chosen), steps)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.04, 0.3, 0.999])
def test_steps_scale_the_whole_schedule(share: float) -> None:
    """At the same share of a run the rate is the same, and the average remembers the same share."""
    short, long = _schedule(1_000), _schedule(50_000)
    rates = [schedule.learning_rate(round(share * n)) for schedule, n in ((short, 1_000), (long, 50_000))]
    assert rates[0] == pytest.approx(rates[1], abs=0.03 * short.highest)
    memories = [1 / (1 - schedule.average_decay(n - 1)) / n for schedule, n in ((short, 1_000), (long, 50_000))]
    assert memories == pytest.approx([0.05, 0.05], rel=1e-3)


def test_rate_ends_at_zero() -> None:
    for steps in (7, 300):
        assert _schedule(steps).learning_rate(steps) == 0
        assert _schedule(steps).learning_rate(steps - 1) > 0


def test_what_is_given_wins() -> None:
    schedule = _schedule(1_000, warmup_steps=500, decay_steps=10_000, ema_decay=0.5, learning_rate=1.0)
    assert schedule.learning_rate(249) == pytest.approx(0.5 * (1 - 249 / 10_000))
    assert schedule.average_decay(900) == 0.5
    assert _schedule(1_000, warmup_steps=0, learning_rate=1.0).learning_rate(0) == 1.0


class _Line(TrainedModule):
    def training_step(self, batch: Any, step: int) -> dict[str, torch.Tensor]:
        return {}

    def validation_step(self, network: Any, batch: Any) -> dict[str, torch.Tensor]:
        return {}


@pytest.mark.parametrize("steps", [50, 2_500])
def test_average_forgets_where_it_began(steps: int) -> None:
    """Weights that jump from 1e6 to 1 at the first step: what is left of the start is 9! / n^9, not exp(-n / 1000)."""
    module, schedule = _Line(nn.Linear(1, 1, bias=False)), _schedule(steps, ema_decay=0.999)
    for network, value in ((module.average, 1e6), (module.network, 1.0)):
        network.weight.data.fill_(value)
    for step in range(steps):
        module.update_average(schedule.average_decay(step))
    assert float(module.average.weight) == pytest.approx(1.0, abs=1e-3)


def test_average_is_that_of_the_last_steps() -> None:
    """Of weights that grow by one a step the average lags behind by what it remembers, a tenth at most."""
    module, schedule = _Line(nn.Linear(1, 1, bias=False).double()), _schedule(1_000)
    for step in range(1_000):
        module.network.weight.data.fill_(float(step))
        module.update_average(schedule.average_decay(step))
    assert 999 - float(module.average.weight) == pytest.approx(49, abs=2)
