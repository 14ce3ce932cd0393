"""Planes through molecules, and what is drawn in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from matplotlib.contour import ContourSet
from scipy.optimize import minimize

from ase_mlwave.plotting.planes import Plane, plot_density, plot_signed


def tilted(name: str) -> Atoms:
    atoms = molecule(name)
    atoms.rotate(40, (1, 2, 3))
    atoms.translate((0.3, -2.0, 5.0))
    return atoms


def contours(axes: object) -> tuple[ContourSet, ContourSet]:
    """Return the filled contours and the lines."""
    filled, lines = (c for c in axes.collections if isinstance(c, ContourSet))  # type: ignore[attr-defined]
    return filled, lines


def test_plane_contains_its_three_atoms_and_frames_all() -> None:
    atoms = tilted("CH3CH2OH")
    plane = Plane.through(atoms, (0, 1, 2), margin=1.5)
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
    x, y, height = plane.coordinates(atoms.positions).T
    np.testing.assert_allclose(height[:3], 0, atol=1e-12)
    assert np.abs(height).max() > 0.5
    frame = (x.min() - 1.5, x.max() + 1.5, y.min() - 1.5, y.max() + 1.5)
    assert plane.frame == pytest.approx(frame)
    assert np.ptp(x) > np.ptp(y)


def test_best_plane_has_the_least_squared_distances() -> None:
    atoms = tilted("CH3CHO")
    plane = Plane.through(atoms)
    found = (plane.coordinates(atoms.positions)[:, 2] ** 2).sum()

    def squares(angles: np.ndarray) -> float:
        theta, phi = angles
        normal = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
        return float((((atoms.positions - atoms.positions.mean(0)) @ normal) ** 2).sum())

    starts = [(0.3, 0.2), (1.5, 0.1), (1.5, 1.6)]
    assert found == pytest.approx(min(minimize(squares, start).fun for start in starts), abs=1e-6)
    np.testing.assert_allclose(Plane.through(tilted("C6H6")).coordinates(tilted("C6H6").positions)[:, 2], 0, atol=1e-9)


def test_points_lie_where_the_axes_say() -> None:
    plane = Plane.through(tilted("H2O"))
    x, y, points = plane.points(0.1)
    assert points.shape == (len(y), len(x), 3)
    assert max(np.diff(x).max(), np.diff(y).max()) <= 0.1 + 1e-12
    assert (x[0], x[-1], y[0], y[-1]) == pytest.approx(plane.frame)
    across, up, height = np.moveaxis(plane.coordinates(points), -1, 0)
    np.testing.assert_allclose(across, np.broadcast_to(x, across.shape), atol=1e-12)
    np.testing.assert_allclose(up, np.broadcast_to(y[:, None], up.shape), atol=1e-12)
    np.testing.assert_allclose(height, 0, atol=1e-12)


def test_lines_are_drawn_where_the_density_has_a_power_of_ten(tmp_path: Path) -> None:
    atom = Atoms("He", [(1.0, 2.0, 3.0)])
    axes = plot_density(lambda r: 20 * np.exp(-4 * ((r - atom.positions[0]) ** 2).sum(-1)), atom, limits=(1e-2, 10))
    filled, lines = contours(axes)
    np.testing.assert_allclose(np.log10(filled.levels), np.arange(-2, 1.01, 0.25), atol=1e-12)
    np.testing.assert_allclose(lines.levels, [0.01, 0.1, 1, 10])
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        np.testing.assert_allclose(np.linalg.norm(path.vertices, axis=1), np.sqrt(np.log(20 / level) / 4), atol=2e-3)
    bar = axes.figure.axes[1]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0.01", "0.1", "1", "10"]
    assert bar.get_ylabel() == "electron density (e/Å$^3$)"
    axes.figure.savefig(tmp_path / "density.png")


def test_both_signs_have_the_same_contours(tmp_path: Path) -> None:
    atoms = Atoms("H2", [(0, 0, -1.0), (0, 0, 1.0)])
    plane = Plane.through(atoms)

    def odd(points: np.ndarray) -> np.ndarray:
        return points[..., 2] * np.exp(-(points**2).sum(-1))

    axes = plot_signed(odd, atoms, plane, limits=(1e-3, 0.1), label="odd")
    filled, lines = contours(axes)
    np.testing.assert_allclose(filled.levels, -filled.levels[::-1])
    np.testing.assert_allclose(lines.levels, [-0.1, -0.01, -0.001, 0.001, 0.01, 0.1])
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        np.testing.assert_allclose(odd(plane.origin + path.vertices @ plane.axes), level, rtol=0.01)
    minus = "\N{MINUS SIGN}"
    labels = [text.get_text() for text in axes.figure.axes[1].get_yticklabels()]
    assert sorted(labels) == sorted([f"{minus}0.1", f"{minus}0.01", "±0.001", "0.01", "0.1"])
    axes.figure.savefig(tmp_path / "signed.png")


def test_atoms_off_the_plane_are_in_brackets() -> None:
    ethanol = molecule("CH3CH2OH")
    axes = plot_density(lambda r: np.exp(-(r**2).sum(-1)), ethanol, Plane.through(ethanol, (0, 1, 2)), label=None)
    marks = [text.get_text() for text in axes.texts]
    assert marks == ["C", "C", "O", "H", "(H)", "(H)", "H", "(H)", "(H)"]
    assert len(axes.figure.axes) == 1


@pytest.mark.parametrize("name", ["H", "N2", "CO2"])
def test_molecules_without_a_plane_get_one(name: str) -> None:
    atoms = molecule(name)
    plane = Plane.through(atoms)
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(plane.coordinates(atoms.positions)[:, 1:], 0, atol=1e-9)


def test_wrong_input_is_refused() -> None:
    water = molecule("H2O")
    for indices in ((0, 1), (0, 1, 3), (0, 1, -4)):
        with pytest.raises(InputError, match="three of the atoms 0 to 2"):
            Plane.through(water, indices)
    for line in ((0, 1, 1), (0, 1, 2)):
        with pytest.raises(InputError, match="lie on a line"):
            Plane.through(molecule("CO2"), line)
    with pytest.raises(InputError, match="at least one atom"):
        Plane.through(Atoms())
    for length in (0.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="margin is"):
            Plane.through(water, margin=length)
        with pytest.raises(InputError, match="spacing is"):
            Plane.through(water).points(length)
    for limits in ((0, 1), (1, 1), (1, float("inf"))):
        with pytest.raises(InputError, match="two rising positive"):
            plot_density(lambda r: r[..., 0], water, limits=limits)
