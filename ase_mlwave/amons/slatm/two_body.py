"""The spectrum of distances of an atom: London's attraction, r^-6, by element of the partner."""

from __future__ import annotations

from torch import Tensor

from ase_mlwave.amons.slatm.grids import Grid, gaussian_windows

__all__ = ["pair_spectrum"]


def pair_spectrum(r: Tensor, charges: Tensor, fade: Tensor, grid: Grid, power: int) -> tuple[Tensor, Tensor]:
    """Evaluate the contributions of pairs to the spectra of their centres.

    Parameters
    ----------
    r : Tensor, (E,)
        Distances, Angstrom.
    charges : Tensor, (E,)
        Products z1 z2 of the atomic numbers.
    fade : Tensor, (E,)
        Switching function, or 1 inside and 0 outside of the cutoff.
    grid : Grid
        Of distances.
    power : int
        Of 1/x.

    Returns
    -------
    index : Tensor, (E, grid.window)
        Grid points of every pair.
    values : Tensor, (E, grid.window)
        z1 z2 / 2 dg / (sqrt(2 pi) s) fade x^-power exp(-(x - r)^2 / 2 s^2).

    Notes
    -----
    Source: Huang and von Lilienfeld 2020, supplement. The power acts on the grid x, not on r.
    """
    index, values = gaussian_windows(r, grid)
    decay = grid.points(r) ** -power
    return index, values * (0.5 * grid.scale * charges * fade)[:, None] * decay[index]
