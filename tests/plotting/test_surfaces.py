"""Isosurfaces, charges and levels: where they are drawn, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from matplotlib.axes import Axes
from scipy.ndimage import zoom

from ase_mlwave.plotting.levels import plot_levels
from ase_mlwave.plotting.surfaces import View, _splined, plot_charges, plot_isosurface

#: A view along z, with x to the right.
ALONG_Z = View(np.zeros(3), np.eye(3))


def seen(axes: Axes, x: float, y: float) -> np.ndarray:
    """Return the colour (3,) that is drawn at a point of the picture."""
    (image,) = axes.images
    left, right, lower, upper = image.get_extent()
    pixels = np.asarray(image.get_array())
    row = round((y - lower) / (upper - lower) * (len(pixels) - 1))
    column = round((x - left) / (right - left) * (pixels.shape[1] - 1))
    return pixels[row, column]


def test_surface_lies_where_the_function_has_the_level() -> None:
    """A Gaussian of width 1 around the atom has the value exp(-1/2) at a distance of 1 Angstrom."""
    atoms = Atoms("H", positions=[(0, 0, 0)])
    axes = plot_isosurface(lambda r: np.exp(-0.5 * (r**2).sum(-1)), atoms, level=float(np.exp(-0.5)), view=ALONG_Z)
    for angle in np.linspace(0, 6, 7):
        direction = np.array([np.cos(angle), np.sin(angle)])
        assert (seen(axes, *(0.96 * direction)) < 0.98).any()
        np.testing.assert_array_equal(seen(axes, *(1.04 * direction)), 1)
    np.testing.assert_allclose(axes.get_xlim(), (-1.2, 1.2), atol=0.05)


def test_splines_of_one_axis_each_are_those_of_all_at_once() -> None:
    values = np.random.default_rng(0).normal(size=(7, 9, 6)).astype(np.float32)
    np.testing.assert_allclose(_splined(values, (3, 4, 2)), zoom(values, (3, 4, 2), order=3), rtol=0, atol=1e-5)


def test_parts_of_opposite_sign_have_two_colours_that_change_places_with_the_sign() -> None:
    atoms = Atoms("H", positions=[(0, 0, 0)])

    def p_orbital(sign: float) -> Axes:
        return plot_isosurface(lambda r: sign * r[:, 0] * np.exp(-np.linalg.norm(r, axis=-1)), atoms, view=ALONG_Z)

    for sign in (1, -1):
        axes = p_orbital(sign)
        is_orange = [bool(red > blue) for red, _, blue in (seen(axes, x, 0.1) for x in (0.9, -0.9))]
        assert is_orange == [sign < 0, sign > 0]


def test_nearer_atoms_hide_farther_ones() -> None:
    """Oxygen before nitrogen is red, behind it blue."""
    for height, channel in ((2.5, 0), (-2.5, 2)):
        atoms = Atoms("NO", positions=[(0, 0, 0), (0, 0, height)])
        colour = seen(plot_isosurface(lambda r: np.zeros(len(r)), atoms, view=ALONG_Z), 0, 0)
        assert colour.argmax() == channel


def test_view_keeps_distances_and_shows_the_broad_side() -> None:
    atoms = molecule("C6H6")
    atoms.rotate(50, (1, 2, 3))
    view = View.of(atoms, tilt=0)
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.axes) == pytest.approx(1)
    np.testing.assert_allclose(view.coordinates(atoms.positions)[:, 2], 0, atol=0.1)
    assert np.ptp(View.of(atoms, tilt=90).coordinates(atoms.positions)[:, 1]) < 0.1
    with pytest.raises(InputError, match="empty"):
        View.of(Atoms())


def test_charges_colour_and_label_their_atoms(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    axes = plot_charges([-0.4, 0.2, 0.2], atoms)
    assert [text.get_text() for text in axes.texts] == ["\N{MINUS SIGN}0.40", "+0.20", "+0.20"]
    for text, largest in zip(axes.texts, (0, 2, 2), strict=True):
        assert seen(axes, *text.get_position()).argmax() == largest  # red, blue, blue
    axes.figure.savefig(tmp_path / "charges.png")
    with pytest.raises(InputError, match=r"shape \(2,\), but the molecule has 3 atoms"):
        plot_charges([0.1, 0.2], atoms)


def test_levels_show_the_gap_of_each_method() -> None:
    axes = plot_levels({"one": [-10.0, -6.0, -1.0, 2.0], "other": [-11.0, -6.5, -0.5, 2.0]}, 2)
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["5.00 eV", "6.00 eV"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "other"]
    with pytest.raises(InputError, match="one has 2 orbitals: there is no gap"):
        plot_levels({"one": [-10.0, -6.0]}, 2)


@pytest.mark.parametrize("level", [0.0, -1.0, float("nan")])
def test_impossible_levels_are_refused(level: float) -> None:
    with pytest.raises(InputError, match="must be a positive number"):
        plot_isosurface(lambda r: r[:, 0], molecule("H2O"), level=level)
