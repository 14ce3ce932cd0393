"""Molecules in space: balls, sticks and isosurfaces as an observer far away sees them, without a molecular viewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import zoom

__all__ = ["View", "plot_charges", "plot_isosurface"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

#: Spacing of the points at which a function is evaluated, Angstrom, and how much finer depth is.
_SPACING, _DEEPER = 0.2, 2
#: Pixels that the longer side of a picture has at least, and how much finer than the points it is at most.
_PIXELS, _FINEST = 600, 16
#: Space around the nuclei in which surfaces are sought, and around all that is drawn, Angstrom.
_WIDE, _FRAME = 3.2, 0.2
#: Radius of a ball in covalent radii, and of a stick, Angstrom.
_BALL, _STICK = 0.42, 0.11
#: Where the light comes from: right, up, towards the observer.
_LIGHT = np.array([-0.35, 0.5, 0.79])
#: Colours of the positive and the negative part of a surface: not those of any common element.
_LOBES = ("#149c94", "#f0962e")
#: Carbon darker and hydrogen less bright than Jmol has them, so that sticks stand out on white.
_COLOURS = jmol_colors.copy()
_COLOURS[1], _COLOURS[6] = 0.9, 0.38


@dataclass(frozen=True, eq=False)
class View:
    """A direction in which a molecule is looked at."""

    origin: Array
    """Point in the middle of the picture, (3,), Angstrom."""
    axes: Array
    """Directions to the right, up and towards the observer, (3, 3), orthonormal."""

    @classmethod
    def of(cls, atoms: Atoms, *, tilt: float = 30.0) -> View:
        """Look at a molecule from its broad side, its length to the right.

        Parameters
        ----------
        atoms : Atoms
            A molecule.
        tilt : float
            Degrees by which the observer is raised above the perpendicular to the plane nearest to all atoms.

        Returns
        -------
        View

        Raises
        ------
        InputError
            If there are no atoms.
        """
        if len(atoms) == 0:
            raise InputError("the Atoms object is empty. Give it at least one atom.")
        origin = 0.5 * (atoms.positions.min(axis=0) + atoms.positions.max(axis=0))
        axes = np.linalg.svd(atoms.positions - atoms.positions.mean(axis=0), full_matrices=True)[2]
        axes = np.array([axis * np.sign(axis[np.abs(axis).argmax()]) for axis in axes])
        axes[2] = np.cross(axes[0], axes[1])
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        return cls(origin, np.array([axes[0], c * axes[1] - s * axes[2], s * axes[1] + c * axes[2]]))

    def coordinates(self, positions: Array) -> Array:
        """Give positions (N, 3), Angstrom, as the observer does: right, up, towards the observer; (N, 3)."""
        return np.asarray((positions - self.origin) @ self.axes.T)


@dataclass
class _Scene:
    """What the rays of a picture meet: axes (X,), (Y,), Angstrom; colours (Y, X, 3); heights (Y, X), Angstrom."""

    x: Array
    y: Array
    colours: Array
    height: Array

    @classmethod
    def empty(cls, x: Array, y: Array) -> _Scene:
        return cls(x, y, np.ones((len(y), len(x), 3)), np.full((len(y), len(x)), -np.inf))

    def part(self, low: Array, high: Array) -> tuple[slice, slice]:
        """Find the rows and columns between two corners (2,)."""
        columns, rows = (np.searchsorted(a, (low[i], high[i])) for i, a in enumerate((self.x, self.y)))
        return slice(*rows), slice(*columns)

    def put(self, part: tuple[slice, slice], height: Array, normal: Array, colour: Array) -> None:
        """Put a solid in front of what is behind it; heights are nan where no ray meets it."""
        near = height > self.height[part]
        self.height[part][near] = height[near]
        self.colours[part][near] = _shaded(np.broadcast_to(colour, normal.shape), normal)[near]

    def cover(self, height: Array, normal: Array, colour: Array) -> None:
        """Lay a translucent surface over what is behind it, the denser the more it is seen edge-on."""
        near = height > self.height
        opacity = (0.55 + 0.4 * (1 - np.abs(normal[..., 2]).clip(0, 1)) ** 2) * near
        opacity = np.nan_to_num(opacity)[..., None]
        self.colours = (1 - opacity) * self.colours + opacity * np.nan_to_num(_shaded(colour, normal))


def plot_isosurface(
    function: Function, atoms: Atoms, *, level: float = 0.08, axes: Axes | None = None, view: View | None = None
) -> Axes:
    """Draw where a function of space, such as an orbital, has two values of opposite sign, around its molecule.

    Parameters
    ----------
    function : callable
        Points (G, 3), Angstrom -> (G,); ``partial(calc.orbital, atoms, index)`` for an orbital of a calculator.
    atoms : Atoms
        The molecule.
    level : float
        Value of the surfaces, in the function's unit; the default suits orbitals in Angstrom^(-3/2).
    axes : matplotlib Axes, optional
        Where to draw; by default a figure of its own.
    view : View, optional
        From where; by default from the molecule's broad side.

    Returns
    -------
    matplotlib Axes
        ``.figure.savefig("orbital.png")`` writes the picture; the axes are in Angstrom.

    Raises
    ------
    InputError
        If the level is not positive or there are no atoms.

    Notes
    -----
    Parallel rays meet the surface where the function, known every 0.2 Angstrom and splined in between, passes the
    level (``test_surface_lies_where_the_function_has_the_level``).
    """
    if not 0 < level < np.inf:
        raise InputError(f"level is {level!r}, but must be a positive number, such as 0.08")
    view = view or View.of(atoms)
    ends = [(float(a.min() - _WIDE), float(a.max() + _WIDE)) for a in view.coordinates(atoms.positions).T]
    x, y, z = (np.linspace(low, high, 1 + int(np.ceil((high - low) / _SPACING))) for low, high in ends)
    grid = np.stack(np.meshgrid(y, x, z, indexing="ij"), axis=-1)[..., [1, 0, 2]]
    values = np.asarray(function((grid @ view.axes + view.origin).reshape(-1, 3)), dtype=np.float32)
    finer = min(_FINEST, -(-_PIXELS // max(grid.shape[:2])))
    values = _splined(values.reshape(grid.shape[:3]), (finer, finer, _DEEPER))
    x, y, z = (np.linspace(a[0], a[-1], n) for a, n in zip((x, y, z), np.array(values.shape)[[1, 0, 2]], strict=True))
    scene = _Scene.empty(x, y)
    _draw_atoms(scene, atoms, view, _COLOURS[atoms.numbers])
    surfaces = [_surface(sign * values, level, x, y, z) for sign in (1, -1)]
    colours = [np.array(to_rgb(colour)) for colour in _LOBES]
    behind = np.nan_to_num(surfaces[0][0], nan=-np.inf) < np.nan_to_num(surfaces[1][0], nan=-np.inf)
    for first in (True, False):  # of two surfaces on a ray the farther one first
        height = np.where(behind == first, surfaces[0][0], surfaces[1][0])
        normal = np.where((behind == first)[..., None], surfaces[0][1], surfaces[1][1])
        scene.cover(height, normal, np.where((behind == first)[..., None], *colours))
    return _show(scene, axes)


def plot_charges(
    charges: ArrayLike,
    atoms: Atoms,
    *,
    limit: float | None = None,
    axes: Axes | None = None,
    view: View | None = None,
) -> Axes:
    """Draw a molecule whose atoms are coloured by their charges, red for negative ones, and labelled with them.

    Parameters
    ----------
    charges : array_like, (N,)
        e.
    atoms : Atoms
        The molecule.
    limit : float, optional
        Charge of the darkest colour, e; by default the largest of the molecule.
    axes, view
        As of `plot_isosurface`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If there are not as many charges as atoms, or no atoms.
    """
    values = np.asarray(charges, dtype=np.float64)
    if values.shape != (len(atoms),):
        raise InputError(f"charges have shape {values.shape}, but the molecule has {len(atoms)} atoms: give one each")
    view = view or View.of(atoms)
    limit = float(np.abs(values).max()) if limit is None else limit
    places = view.coordinates(atoms.positions)
    step = (2 + np.ptp(places[:, :2], axis=0).max()) / _PIXELS
    x, y = (np.arange(a.min() - 1, a.max() + 1, step) for a in places.T[:2])
    scene = _Scene.empty(x, y)
    colours = colormaps["RdBu"](0.5 + 0.4 * values / max(limit, 1e-9))[:, :3]
    _draw_atoms(scene, atoms, view, colours, size=1.35)
    axes = _show(scene, axes)
    for value, number, (right, up, _) in zip(values, atoms.numbers, places, strict=True):
        text = f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
        size = 7.5 if number > 1 else 5.5
        halo = [withStroke(linewidth=1.6, foreground="w")]
        axes.text(right, up, text, ha="center", va="center", fontsize=size, path_effects=halo)
    return axes


def _splined(values: NDArray[np.float32], finer: Sequence[int]) -> NDArray[np.float32]:
    """Interpolate values (Y, X, Z) by cubic splines, the axes so many times finer: (Y', X', Z').

    As ``scipy.ndimage.zoom`` of all axes at once, which takes 4^3 neighbours for each of the values: a spline of three
    coordinates is a product of splines of one each, so that three products of matrices do
    (``test_splines_of_one_axis_each_are_those_of_all_at_once``).
    """
    for factor in reversed(finer):  # the last axis becomes the first, so that after three each is where it was
        spline = zoom(np.eye(values.shape[-1]), (factor, 1), order=3).astype(values.dtype)
        values = np.tensordot(spline, values, axes=(1, -1))
    return values


def _draw_atoms(scene: _Scene, atoms: Atoms, view: View, colours: Array, size: float = 1.0) -> None:
    """Draw balls, and sticks between atoms that are as near as bonds are long."""
    places = view.coordinates(atoms.positions)
    radii = size * _BALL * covalent_radii[atoms.numbers]
    for i, j in zip(*neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.15)), strict=True):
        if i < j:
            middle = 0.5 * (places[i] + places[j])
            for place, colour in ((places[i], colours[i]), (places[j], colours[j])):
                _draw_stick(scene, place, middle, colour)
    for place, radius, colour in zip(places, radii, colours, strict=True):
        part = scene.part(place[:2] - radius, place[:2] + radius)
        dx, dy = np.meshgrid(scene.x[part[1]] - place[0], scene.y[part[0]] - place[1])
        with np.errstate(invalid="ignore"):
            dz = np.sqrt(radius**2 - dx**2 - dy**2)
        scene.put(part, place[2] + dz, np.stack([dx, dy, dz], axis=-1) / radius, colour)


def _draw_stick(scene: _Scene, start: Array, end: Array, colour: Array) -> None:
    """Draw a cylinder: the larger height t at which a ray is a radius away from its axis u."""
    length = np.linalg.norm(end - start)
    u = (end - start) / length
    part = scene.part(np.minimum(start, end)[:2] - _STICK, np.maximum(start, end)[:2] + _STICK)
    q = np.stack(np.meshgrid(scene.x[part[1]] - start[0], scene.y[part[0]] - start[1]), axis=-1)
    along, flat = q @ u[:2], max(1 - u[2] ** 2, 1e-9)
    with np.errstate(invalid="ignore"):
        root = np.sqrt((u[2] * along) ** 2 - flat * ((q**2).sum(axis=-1) - along**2 - _STICK**2))
    t = (u[2] * along + root) / flat
    s = along + t * u[2]
    t[(s < 0) | (s > length)] = np.nan
    normal = (np.concatenate([q, t[..., None]], axis=-1) - s[..., None] * u) / _STICK
    scene.put(part, start[2] + t, normal, colour)


def _surface(values: NDArray[np.float32], level: float, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """Find where rays first meet values (Y, X, Z) above the level: heights (Y, X), normals (Y, X, 3); nan: never."""
    above = values > level
    above[..., [0, -1]] = False
    top = len(z) - 1 - above[..., ::-1].argmax(axis=-1)
    rows, columns = np.nonzero(above.any(axis=-1))
    k = top[rows, columns]
    inside, outside = values[rows, columns, k], values[rows, columns, k + 1]
    share = (inside - level) / (inside - outside)
    height = np.full(values.shape[:2], np.nan)
    height[rows, columns] = z[k] + share * (z[1] - z[0])
    slopes = [(outside - inside) / (z[1] - z[0])]
    for axis, spacing, here in ((1, x[1] - x[0], columns), (0, y[1] - y[0], rows)):
        ends = [np.clip(here + d, 0, values.shape[axis] - 1) for d in (1, -1)]
        at = [(rows, end) if axis else (end, columns) for end in ends]
        sides = [(1 - share) * values[*place, k] + share * values[*place, k + 1] for place in at]
        slopes.insert(0, (sides[0] - sides[1]) / (2 * spacing))
    downhill = -np.stack([slopes[1], slopes[0], slopes[2]], axis=-1)
    normal = np.full((*values.shape[:2], 3), np.nan)
    normal[rows, columns] = downhill / np.linalg.norm(downhill, axis=-1, keepdims=True)
    return height, normal


def _shaded(colour: Array, normal: Array) -> Array:
    """Light a surface: what is scattered, and a spot where the light is mirrored."""
    facing = (normal @ (_LIGHT / np.linalg.norm(_LIGHT))).clip(0, 1)[..., None]
    half = _LIGHT / np.linalg.norm(_LIGHT) + np.array([0, 0, 1])
    spot = (normal @ (half / np.linalg.norm(half))).clip(0, 1)[..., None] ** 40
    return np.asarray((colour * (0.45 + 0.6 * facing) + 0.35 * spot).clip(0, 1))


def _show(scene: _Scene, axes: Axes | None) -> Axes:
    axes = axes or Figure(figsize=(6.4, 5.0), layout="constrained").subplots()
    extent = (scene.x[0], scene.x[-1], scene.y[0], scene.y[-1])
    axes.imshow(scene.colours, origin="lower", extent=extent, interpolation="bicubic")
    rows, columns = np.nonzero((scene.colours < 1).any(axis=-1))
    axes.set_xlim(scene.x[columns.min()] - _FRAME, scene.x[columns.max()] + _FRAME)
    axes.set_ylim(scene.y[rows.min()] - _FRAME, scene.y[rows.max()] + _FRAME)
    axes.set_axis_off()
    return axes
