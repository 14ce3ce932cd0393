"""Every curve that the commands draw has one style: open axes, named quantities with units, words that can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_mlwave.models.amons.training.run import _draw, _Point
from ase_mlwave.plotting.amons import draw_learning_curve as draw_amons_curve
from ase_mlwave.plotting.calibration import draw_calibration
from ase_mlwave.plotting.demo import draw_cycles, draw_relaxations, draw_trajectory
from ase_mlwave.plotting.training import draw_learning_curve

BINS = [SimpleNamespace(spread=x, error=2 * x, uncertainty=0.1 * x) for x in (1.0, 5.0, 30.0)]
PANEL = SimpleNamespace(title="force components", unit="meV_per_A", bins=lambda: BINS, ratio=lambda: 2.0)
METRICS = {
    "train/loss": {1: 1.0, 2: 0.1},
    "valid/loss": {1: 1.0, 2: 0.2},
    "valid/forces_meV_per_A": {1: 30.0, 2: 8.0},
    "valid_trained/forces_meV_per_A": {1: 33.0, 2: 9.0},
}
WAVE = np.cos(np.linspace(0, 6, 30))

DRAWN: dict[str, Callable[[Path], None]] = {
    "amons": lambda path: draw_amons_curve([1, 2, 3], [-10.2, -10.0, -10.01], [0.1, 0.02, 0.01], path, "water"),
    "calibration": lambda path: draw_calibration([PANEL, PANEL], path),
    "cycles": lambda path: draw_cycles({"water": (10, 5), "ammonia": (11, 6)}, path),
    "kernel": lambda path: _draw([_Point(10, 30.0, 90.0), _Point(20, 12.0, 41.0)], path),
    "relaxations": lambda path: draw_relaxations({"one": [0.5, -0.9, -1.0], "other": [0.5, -1.0]}, path),
    "training": lambda path: draw_learning_curve(METRICS, path),
    "trajectory": lambda path: draw_trajectory(np.linspace(0, 1, 30), 0.1 * WAVE, 0.1 - 0.1 * WAVE, path),
}


@pytest.fixture(params=DRAWN, scope="module")
def figure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Figure:
    """Draw, and keep the figure that was written."""
    kept: list[Figure] = []
    write = Figure.savefig

    def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
        kept.append(figure)
        write(figure, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        DRAWN[request.param](tmp_path_factory.mktemp("pictures") / "drawn.png")
    (drawn,) = kept
    return drawn


def test_axes_are_open_and_legends_have_no_frame(figure: Figure) -> None:
    for axes in figure.axes:
        assert not axes.spines["top"].get_visible()
        assert not axes.spines["right"].get_visible()
    for legend in [axes.get_legend() for axes in figure.axes] + figure.legends:
        assert legend is None or not legend.get_frame_on()


def _words(axes: Axes) -> str:
    return " ".join([axes.get_xlabel(), axes.get_ylabel(), axes.get_title()])


def test_axes_say_what_they_show_in_which_unit(figure: Figure) -> None:
    for axes in figure.axes:
        assert axes.get_xlabel() or not axes.xaxis.get_tick_params()["labelbottom"]
        assert axes.get_ylabel() or axes.get_title() or axes.get_yticklabels()
    words = " ".join(map(_words, figure.axes))
    assert any(unit in words for unit in ("meV", "kcal/mol", "cycles"))


def test_words_can_be_read_at_half_size(figure: Figure) -> None:
    texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)]
    texts += [text for axes in figure.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    smallest = min(text.get_fontsize() for text in texts if text.get_text())
    assert smallest >= 8  # points: 7 pixels at half of 130 an inch
