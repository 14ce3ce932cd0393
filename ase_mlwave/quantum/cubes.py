"""Densities and orbitals on grids, and as Gaussian cube files, which most molecular viewers open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyscf import gto
from pyscf.tools.cubegen import Cube

__all__ = [
    "CubeGrid",
    "density_on_points",
    "orbitals_on_points",
    "write_cube",
]

Array = NDArray[np.float64]

_BLOCK = 20_000


@dataclass(frozen=True)
class CubeGrid:
    """A box of points around a molecule."""

    spacing: float = 0.2
    """Largest distance of neighbouring points along an axis, Bohr."""
    margin: float = 4.0
    """Distance from the outermost nuclei to the box's faces, Bohr."""

    def __post_init__(self) -> None:
        """Refuse boxes without points."""
        if not (self.spacing > 0 and self.margin > 0):
            raise ValueError(
                f"spacing = {self.spacing} and margin = {self.margin} Bohr must be positive, for example 0.2 and 4.0"
            )


def density_on_points(density: Array, mole: gto.Mole, points: Array) -> Array:
    """Evaluate the electron density rho(r) = sum_pq P_pq chi_p(r) chi_q(r).

    Parameters
    ----------
    density : ndarray, (M, M)
        P, symmetric.
    mole : pyscf.gto.Mole
        The molecule.
    points : ndarray, (G, 3)
        Bohr.

    Returns
    -------
    ndarray, (G,)
        e/Bohr^3, positive where electrons are.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    if np.shape(density) != (mole.nao, mole.nao):
        raise ValueError(f"density has shape {np.shape(density)}; the molecule's basis needs ({mole.nao}, {mole.nao})")
    return np.concatenate([np.einsum("gp,pq,gq->g", x, density, x, optimize=True) for x in _blocks(mole, points)])


def orbitals_on_points(coefficients: Array, mole: gto.Mole, points: Array) -> Array:
    """Evaluate orbitals psi_i(r) = sum_p C_pi chi_p(r).

    Parameters
    ----------
    coefficients : ndarray, (M, K)
        C, one orbital per column.
    mole : pyscf.gto.Mole
        The molecule.
    points : ndarray, (G, 3)
        Bohr.

    Returns
    -------
    ndarray, (G, K)
        Bohr^(-3/2); the sign of each orbital is arbitrary.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    if np.ndim(coefficients) != 2 or len(coefficients) != mole.nao:
        raise ValueError(f"coefficients have shape {np.shape(coefficients)}; give ({mole.nao}, K), orbitals in columns")
    return np.concatenate([x @ coefficients for x in _blocks(mole, points)])


def write_cube(
    path: str | os.PathLike[str],
    function: Callable[[Array], Array],
    mole: gto.Mole,
    grid: CubeGrid | None = None,
    comment: str = "",
) -> None:
    """Write a function of space, such as a density or an orbital, as a cube file.

    Parameters
    ----------
    path : path-like
        The file, overwritten if it exists.
    function : callable
        Points (G, 3), Bohr -> values (G,) or (G, 1), for example ``partial(density_on_points, density, mole)``.
    mole : pyscf.gto.Mole
        The nuclei; its basis does not matter.
    grid : CubeGrid, optional
        The box.
    comment : str
        What the values are and their unit.

    Notes
    -----
    A sum over the file times the volume of a cell is an integral only as far as the function is smooth on the scale of
    the spacing: densities with cusps at the nuclei are not (``test_density_integrates_at_the_spacing_it_needs``).
    """
    box = _box(mole, grid)
    values = function(box.get_coords())
    box.write(values.reshape(box.nx, box.ny, box.nz), os.fspath(path), comment=comment)


def _box(mole: gto.Mole, grid: CubeGrid | None) -> Cube:
    settings = grid or CubeGrid()
    extent = np.ptp(mole.atom_coords(), axis=0) + 2 * settings.margin
    nx, ny, nz = (int(n) for n in np.ceil(extent / settings.spacing) + 1)
    return Cube(mole, nx, ny, nz, resolution=None, margin=settings.margin)


def _blocks(mole: gto.Mole, points: Array) -> Iterator[Array]:
    """Evaluate basis functions (g, M), few points at a time."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError(f"points have shape {points.shape}; give (G, 3), G > 0, in Bohr")
    for start in range(0, len(points), _BLOCK):
        yield mole.eval_gto("GTOval", points[start : start + _BLOCK])
