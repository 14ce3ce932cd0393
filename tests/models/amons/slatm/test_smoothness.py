"""Scans across the cutoffs and through collinear triangles: representation and first derivative are continuous."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ase_mlwave.models.amons.slatm.representation import Slatm
from ase_mlwave.systems.system import System
from tests.models.amons.slatm.systems import slatm

BOHR_PER_ANGSTROM = 1 / 0.529177210903
Path = Callable[[float], np.ndarray]


def pair(t: float) -> np.ndarray:
    """Move the second of two atoms across the cutoff."""
    return np.array([[0, 0, 0], [4.75 + t, 0, 0]])


def side(t: float) -> np.ndarray:
    """Move two neighbours of the first atom apart until the third side passes the cutoff."""
    return np.array([[0, 0, 0], [2.35 + t, 0.7, 0], [-2.4, 0.7, 0.2]])


def leg(t: float) -> np.ndarray:
    """Let one side at the first atom pass the cutoff while the others stay."""
    return np.array([[0, 0, 0], [4.7 + t, 0.8, 0], [3.0, 0, 0.4]])


def bend(t: float) -> np.ndarray:
    """Bend a triangle through 180 degrees at the first atom; t = 0 is collinear."""
    return np.array([[0, 0, 0], [1.2, t, 0], [-1.1, 0, 0]])


def eclipse(t: float) -> np.ndarray:
    """Let an atom pass behind another one, through 0 degrees at the first atom."""
    return np.array([[0, 0, 0], [1.2, t, 0], [2.3, 0, 0]])


def path_values(representation: Slatm, path: Path, times: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the environments on a path and their derivatives along it, (times, all columns), per Angstrom."""
    numbers = np.array([6, 8, 1])[: len(path(0.0))]
    geometries = [System(numbers, path(t) * BOHR_PER_ANGSTROM) for t in times]
    velocity = (path(1.0) - path(0.0)) * BOHR_PER_ANGSTROM
    batch = representation.collate(geometries)
    directions = torch.from_numpy(np.tile(velocity, (len(times), 1)))[None]
    rows, derivatives = representation.pushforward(batch, directions)
    return rows.reshape(len(times), -1), derivatives.reshape(len(times), -1)


def fall_of_changes(representation: Slatm, path: Path) -> tuple[float, float]:
    """Compare two scans, the second with a quarter of the step: largest change from point to point, fine / coarse.

    Returns
    -------
    of_values, of_derivatives : float
        The largest such ratio of all columns that change: 1/4 if they are differentiable, 1 if one of them jumps.
    """
    changes = []
    for n in (30, 120):
        times = np.arange(-n, n + 1) * (0.12 / n)  # t = 0 is one of them
        changes.append([values.diff(dim=0).abs().amax(0) for values in path_values(representation, path, times)])
    ratios = []
    for coarse, fine in zip(*changes, strict=True):
        changing = coarse > 1e-9
        assert changing.sum() > 10
        ratios.append(float((fine[changing] / coarse[changing]).max()))
    return ratios[0], ratios[1]


PATHS = {"pair": pair, "side": side, "leg": leg, "bend": bend, "eclipse": eclipse}


@pytest.mark.parametrize("name", PATHS)
def test_smooth_representation_and_its_derivative_are_continuous(name: str) -> None:
    of_values, of_derivatives = fall_of_changes(slatm("H", "C", "O"), PATHS[name])
    assert of_values < 0.35
    assert of_derivatives < 0.35


@pytest.mark.parametrize(("name", "which"), [("pair", 0), ("side", 0), ("leg", 0), ("bend", 1), ("eclipse", 1)])
def test_the_scans_find_the_jumps_of_the_representation_that_is_not_smooth(name: str, which: int) -> None:
    assert fall_of_changes(slatm("H", "C", "O", smooth=False), PATHS[name])[which] > 0.45


@pytest.mark.parametrize("path", [bend, eclipse])
def test_a_triangle_passes_through_collinearity(path: Path) -> None:
    representation = slatm("H", "C", "O")
    times = np.array([-1e-2, -1e-5, -1e-9, 0.0, 1e-9, 1e-5, 1e-2])
    rows, derivatives = path_values(representation, path, times)
    assert rows.isfinite().all()
    torch.testing.assert_close(rows, rows.flip(0), rtol=0, atol=1e-12)  # t and -t are mirror images
    torch.testing.assert_close(derivatives, -derivatives.flip(0), rtol=0, atol=1e-11)
    assert derivatives[3].abs().max() == 0
    assert derivatives[0].abs().max() > 1e-3


@pytest.mark.parametrize("path", [pair, side, leg])
def test_derivatives_on_the_way_across_the_cutoff_are_those_of_the_values(path: Path) -> None:
    representation = slatm("H", "C", "O")
    step = 1e-3
    times = np.arange(-0.1, 0.1, step)
    rows, derivatives = path_values(representation, path, times)
    differences = (rows[2:] - rows[:-2]) / (2 * step)
    scale = float(derivatives.abs().max())
    assert scale > 1e-6
    torch.testing.assert_close(differences, derivatives[1:-1], rtol=0, atol=1e-3 * scale)
