"""The table and the picture of a run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib.image
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_mlwave.models.training.metrics import read_metrics, write_metrics
from ase_mlwave.plotting import training as curve
from ase_mlwave.plotting.training import draw_learning_curve, readable

METRICS = {
    "train/loss": {100: 0.5, 200: 0.05, 300: 0.004},
    "valid/loss": {100: 0.6, 200: 0.06, 300: 0.005},
    "valid_trained/loss": {100: 0.5, 200: 0.07, 300: 0.006},
    "valid/hamiltonian_uHa": {100: 812.0, 200: 765.0, 300: 701.0},
    "valid_trained/hamiltonian_uHa": {100: 912.0, 200: 865.0, 300: 751.0},
    "valid/forces_meV_per_A": {100: 1e3, 200: 20.0, 300: 0.7},
    "learning_rate": {100: 1e-3, 200: 5e-4, 300: 0.0},
}


def test_metrics_come_back(tmp_path: Path) -> None:
    write_metrics(tmp_path, METRICS)
    assert read_metrics(tmp_path) == METRICS
    write_metrics(tmp_path, {"train/loss": {1: 2.0}})
    assert read_metrics(tmp_path) == {"train/loss": {1: 2.0}}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("valid/hamiltonian_uHa", ("hamiltonian", "µHa")),
        ("valid_trained/forces_meV_per_A", ("forces", "meV/Å")),
        ("valid/forces_uHa_per_Bohr", ("forces", "µHa/Bohr")),
        ("valid/potential", ("potential", "")),
        ("train/loss", ("loss", "")),
    ],
)
def test_names_are_written_as_people_do(name: str, words: tuple[str, str]) -> None:
    assert readable(name) == words


def test_labels_of_the_curve_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two overlap or leave the picture, every axis has two at least, and none has a power of ten to decipher."""
    figures: list[Figure] = []

    def keep(*arguments: object, **options: object) -> Figure:
        figures.append(Figure(*arguments, **options))  # type: ignore[arg-type]
        return figures[-1]

    monkeypatch.setattr(curve, "Figure", keep)
    draw_learning_curve(METRICS, tmp_path / "curve.png")
    picture = matplotlib.image.imread(tmp_path / "curve.png")
    assert picture.shape[1] > 1000
    (figure,) = figures
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes] == [
        "loss",
        "validation error of forces (meV/Å)",
        "validation error of hamiltonian (µHa)",
    ]
    for axes in figure.axes:
        for labels in (_shown(axes, "x"), _shown(axes, "y")):
            assert len(labels) >= 2
            assert all("$" not in text for text, _, _ in labels)
            assert all(one[2] <= other[1] for one, other in pairwise(sorted(labels, key=lambda label: label[1])))


def _shown(axes: Axes, which: str) -> list[tuple[str, float, float]]:
    """Give the labels of an axis that stand in the picture, with where they begin and end along it."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    found = []
    for value, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True):
        box = label.get_window_extent()
        ends = (box.x0, box.x1) if which == "x" else (box.y0, box.y1)
        if low <= value <= high:
            found.append((label.get_text(), *ends))
    return found
