"""Harmonic vibrations with infrared intensities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase.vibrations import VibrationsData

__all__ = ["InfraredData"]

Array = NDArray[np.float64]

#: km/mol of one (D/Angstrom)^2/u: N_A / (12 pi eps_0 c^2), as ASE's `Infrared` has it (Porezag and Pederson 1996).
_KM_PER_MOL = 42.255


@dataclass(frozen=True)
class InfraredData:
    """Hold the harmonic vibrations of a molecule and how strongly they absorb.

    Parameters
    ----------
    vibrations : ase.vibrations.VibrationsData
        Hessian, energies, frequencies, modes; ``tabulate()``, ``iter_animated_mode(...)`` and what else ASE offers.
    dipole_gradient : ndarray, (N, 3, 3)
        Derivatives of the dipole (last axis) by the positions, e: ASE's ``born_effective_charges``, transposed.
    """

    vibrations: VibrationsData
    dipole_gradient: Array

    def get_frequencies(self) -> NDArray[np.complex128]:
        """Return the frequencies of all 3N modes, (3N,), cm^-1, the imaginary ones first."""
        frequencies: NDArray[np.complex128] = self.vibrations.get_frequencies()
        return frequencies

    def get_intensities(self, unit: str = "(D/A)2/amu") -> Array:
        """Return the intensities of all 3N modes.

        Parameters
        ----------
        unit : str
            ``"(D/A)2/amu"``, or ``"km/mol"``; the names are those of ASE's `Infrared`.

        Returns
        -------
        ndarray, (3N,)
            In the order of `get_frequencies`.

        Raises
        ------
        ValueError
            If the unit has another name.

        Notes
        -----
        Double-harmonic: the squared derivative of the dipole by the normal coordinate. Law:
        ``test_infrared_is_that_of_ase``.
        """
        factors = {"(D/A)2/amu": 1.0, "km/mol": _KM_PER_MOL}
        if unit not in factors:
            raise ValueError(f"intensities have no unit {unit!r}; take one of {', '.join(factors)}.")
        slopes = np.einsum("kni,nix->kx", self.vibrations.get_modes(all_atoms=True), self.dipole_gradient)
        intensities: Array = factors[unit] * np.square(slopes / units.Debye).sum(axis=1)
        return intensities

    def lines(self) -> tuple[Array, Array]:
        """Return the spectrum's lines.

        Returns
        -------
        frequencies : ndarray, (K,)
            Of the real ones among the 3N - 6 vibrations (3N - 5 of a linear molecule), cm^-1, ascending.
        intensities : ndarray, (K,)
            km/mol. `ase_mlwave.plot_spectrum` draws both.
        """
        n_modes = _n_vibrations(self.vibrations)
        frequencies = self.get_frequencies()[-n_modes:] if n_modes else np.zeros(0, dtype=complex)
        real = frequencies.real > 0
        intensities = self.get_intensities("km/mol")[-n_modes:] if n_modes else np.zeros(0)
        return frequencies.real[real], intensities[real]


def _n_vibrations(data: VibrationsData) -> int:
    """Count the vibrations of a molecule: modes that neither move nor turn it."""
    atoms = data.get_atoms()
    centred = atoms.positions - atoms.positions.mean(axis=0)
    spread = np.linalg.svd(centred, compute_uv=False) if len(atoms) > 1 else np.zeros(1)
    return 3 * len(atoms) - 3 - (0, 2, 3, 3)[np.count_nonzero(spread > 1e-3)]
