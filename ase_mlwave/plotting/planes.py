"""Pictures of densities, and of their differences, in a plane through a molecule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["Plane", "plot_density", "plot_signed"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

#: Atoms farther from the plane than this, Angstrom, are drawn as lying off it.
_OFF_PLANE = 0.3
#: Three atoms whose triangle is lower than this, Angstrom, lie on a line.
_ON_A_LINE = 0.05
#: Contours per decade.
_PER_DECADE = 4


@dataclass(frozen=True, eq=False)
class Plane:
    """A rectangle in space to draw in."""

    origin: Array
    """Point of the plane, (3,), Angstrom; the zero of both axes."""
    axes: Array
    """Directions to the right and up, (2, 3), orthonormal."""
    frame: tuple[float, float, float, float]
    """Left, right, lower and upper edge, measured from the origin, Angstrom."""

    @classmethod
    def through(cls, atoms: Atoms, indices: Sequence[int] | None = None, *, margin: float = 2.2) -> Plane:
        """Lay a plane through three atoms, or nearest to all of them.

        Parameters
        ----------
        atoms : Atoms
            A molecule.
        indices : sequence of int, (3,), optional
            The atoms; without them the plane is that with the least sum of squared distances of all atoms.
        margin : float
            What the rectangle leaves around the molecule, Angstrom.

        Returns
        -------
        Plane
            The molecule lies along its horizontal axis.

        Raises
        ------
        InputError
            If there are no atoms, ``indices`` are not three atoms off a line, or the margin is not positive.
        """
        if len(atoms) == 0:
            raise InputError("the Atoms object is empty. Give it at least one atom.")
        if not 0 < margin < np.inf:
            raise InputError(f"margin is {margin!r} Angstrom, but must be positive, such as 2.2")
        spanning = atoms.positions if indices is None else _three(atoms, indices)
        origin = spanning.mean(axis=0)
        normal = np.linalg.svd(spanning - origin)[2][2]
        flat = atoms.positions - origin
        flat = flat - np.outer(flat @ normal, normal)
        right = np.linalg.svd(np.vstack([flat - flat.mean(axis=0), 1e3 * normal]))[2][1]
        axes = np.stack([_pointing_up(right), np.cross(_pointing_up(normal), _pointing_up(right))])
        x, y = (flat @ axes.T).T
        frame = (x.min() - margin, x.max() + margin, y.min() - margin, y.max() + margin)
        return cls(origin, axes, (float(frame[0]), float(frame[1]), float(frame[2]), float(frame[3])))

    def coordinates(self, positions: Array) -> Array:
        """Give positions (N, 3), Angstrom, in the plane's own coordinates: right, up, towards the viewer; (N, 3)."""
        return np.asarray((positions - self.origin) @ np.vstack([self.axes, np.cross(*self.axes)]).T)

    def points(self, spacing: float = 0.03) -> tuple[Array, Array, Array]:
        """Fill the rectangle with points.

        Parameters
        ----------
        spacing : float
            Largest distance of neighbours, Angstrom.

        Returns
        -------
        x : ndarray, (X,)
            Horizontal coordinates, Angstrom.
        y : ndarray, (Y,)
            Vertical ones.
        points : ndarray, (Y, X, 3)
            Angstrom.

        Raises
        ------
        InputError
            If the spacing is not positive.
        """
        if not 0 < spacing < np.inf:
            raise InputError(f"spacing is {spacing!r} Angstrom, but must be positive, such as 0.03")
        left, right, lower, upper = self.frame
        x = np.linspace(left, right, 1 + int(np.ceil((right - left) / spacing)))
        y = np.linspace(lower, upper, 1 + int(np.ceil((upper - lower) / spacing)))
        across, up = np.meshgrid(x, y)
        return x, y, self.origin + across[..., None] * self.axes[0] + up[..., None] * self.axes[1]


def plot_density(
    density: Function,
    atoms: Atoms,
    plane: Plane | None = None,
    *,
    axes: Axes | None = None,
    limits: tuple[float, float] = (1e-3, 1e1),
    label: str | None = "electron density (e/Å$^3$)",
) -> Axes:
    """Draw a density in a plane, in contours that are even on a logarithmic scale.

    Parameters
    ----------
    density : callable
        Points (..., 3), Angstrom -> (...), e/Angstrom^3; ``partial(calc.density, atoms)`` for a calculator that has it.
    atoms : Atoms
        The molecule; its atoms are marked, in brackets where they lie off the plane.
    plane : Plane, optional
        Where to look; by default the plane nearest to all atoms.
    axes : matplotlib Axes, optional
        Where to draw; by default a figure of its own.
    limits : tuple of float
        Lowest and highest contour, e/Angstrom^3; each decade has a line. Lower values stay white.
    label : str, optional
        Beside the colour bar; without it no bar is drawn.

    Returns
    -------
    matplotlib Axes
        ``.figure.savefig("density.png")`` writes the picture.

    Raises
    ------
    InputError
        If the limits are not two rising positive numbers.
    """
    return _contours(density, atoms, plane, axes, _levels(limits), "viridis_r", label)


def plot_signed(
    function: Function,
    atoms: Atoms,
    plane: Plane | None = None,
    *,
    axes: Axes | None = None,
    limits: tuple[float, float] = (1e-3, 1e0),
    label: str | None = "difference of densities (e/Å$^3$)",
) -> Axes:
    """Draw a function with two signs, such as a difference of densities or an orbital, in logarithmic contours.

    Parameters
    ----------
    function : callable
        Points (..., 3), Angstrom -> (...).
    atoms, plane, axes, label
        As in `plot_density`.
    limits : tuple of float
        Lowest and highest contour of either sign, in the function's unit. What is smaller stays white.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the limits are not two rising positive numbers.
    """
    levels = _levels(limits)
    return _contours(function, atoms, plane, axes, np.concatenate([-levels[::-1], levels]), "RdBu_r", label)


def _levels(limits: tuple[float, float]) -> Array:
    low, high = limits
    if not 0 < low < high < np.inf:
        raise InputError(f"limits are {limits!r}, but must be two rising positive numbers, such as (1e-3, 10)")
    decades = np.log10(high / low)
    return np.asarray(np.geomspace(low, high, 1 + max(1, round(_PER_DECADE * decades))))


def _contours(
    function: Function,
    atoms: Atoms,
    plane: Plane | None,
    axes: Axes | None,
    levels: Array,
    colours: str,
    label: str | None,
) -> Axes:
    """Fill contours at the levels, draw lines at whole decades, mark the atoms."""
    plane = plane or Plane.through(atoms)
    axes = axes or Figure(figsize=(6.4, 5.0), layout="constrained").subplots()
    x, y, points = plane.points()
    values = np.asarray(function(points), dtype=np.float64)
    extend: Literal["both", "max"] = "both" if levels[0] < 0 else "max"
    norm = BoundaryNorm(levels, 256, extend=extend)
    image = axes.contourf(x, y, values, levels=levels, norm=norm, cmap=colours, extend=extend)
    exponents = np.log10(np.abs(levels))
    decades = levels[np.abs(exponents - exponents.round()) < 1e-6]
    if len(decades):
        axes.contour(x, y, values, levels=decades, colors="k", linewidths=0.4, alpha=0.6)
    _mark(axes, atoms, plane)
    axes.set(xlabel="in the plane, along the molecule (Å)", ylabel="in the plane, across (Å)", aspect="equal")
    if label is not None:
        low = np.abs(levels).min()
        ticks = {
            value: f"{value:g}".replace("-", "\N{MINUS SIGN}") for value in decades if levels[0] > 0 or abs(value) > low
        }
        if levels[0] < 0:
            ticks[0.0] = f"±{low:g}"
        bar = axes.figure.colorbar(image, ax=axes, label=label, shrink=0.85)
        bar.set_ticks(list(ticks), labels=list(ticks.values()), minor=False)
        bar.minorticks_off()
    return axes


def _mark(axes: Axes, atoms: Atoms, plane: Plane) -> None:
    for symbol, (x, y, height) in zip(atoms.symbols, plane.coordinates(atoms.positions), strict=True):
        near = abs(height) < _OFF_PLANE
        circle = {"boxstyle": "circle,pad=0.15", "fc": "w", "ec": "k" if near else "none", "lw": 0.6, "alpha": 0.9}
        text = axes.text(x, y, symbol if near else f"({symbol})", ha="center", va="center", bbox=circle, clip_on=True)
        text.set(fontsize=8 if near else 6.5, color="k" if near else "0.35")


def _three(atoms: Atoms, indices: Sequence[int]) -> Array:
    """Look up the positions of three atoms that span a plane."""
    allowed = range(-len(atoms), len(atoms))
    if len(indices) != 3 or any(index not in allowed for index in indices):
        raise InputError(f"indices are {list(indices)!r}, but a plane needs three of the atoms 0 to {len(atoms) - 1}")
    positions = atoms.positions[list(indices)]
    height = np.linalg.svd(positions - positions.mean(axis=0))[1][1]
    if height < _ON_A_LINE:
        raise InputError(
            f"atoms {list(indices)} lie on a line and span no plane. Take others, or none: the best plane."
        )
    return np.asarray(positions)


def _pointing_up(vector: Array) -> Array:
    """Fix the sign of a direction: its largest component is positive."""
    return np.asarray(vector * np.sign(vector[np.abs(vector).argmax()]))
