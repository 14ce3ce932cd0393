"""Draw geometries of a molecule as thermal displacements along its normal modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator, CalculationFailed
from ase.optimize import BFGS
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ase_mlwave.data.record import Record
from ase_mlwave.reference.drawing import as_start, check_request, sampled_record

__all__ = ["NormalModes", "hessian", "normal_modes", "sample_modes"]

#: Forces below which a geometry counts as a minimum, eV/Angstrom.
_FMAX = 1e-3
#: Displacement of the finite differences, Angstrom.
_STEP = 0.005
#: hbar in ASE's units, eV * (Angstrom sqrt(u/eV)).
_HBAR: float = units._hbar * units.J * units.second


class NormalModes(BaseModel):
    """Hold a minimum and its vibrations, in ASE's units."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    atoms: Atoms
    """The minimum, Angstrom."""
    energies: NDArray[np.float64]
    """hbar omega of each vibration, eV, ascending; (K,)."""
    vectors: NDArray[np.float64]
    """Displacements per mass-weighted normal coordinate, Angstrom / (Angstrom sqrt(u)); (K, N, 3)."""


def normal_modes(molecule: Record | Atoms, calculator: BaseCalculator) -> NormalModes:
    """Relax a molecule and find its vibrations by central differences of the forces.

    Parameters
    ----------
    molecule : Record or Atoms
        Near a minimum; not changed.
    calculator : ase calculator
        Energies and forces.

    Returns
    -------
    NormalModes
        3 N - 6 vibrations, 3 N - 5 of a linear molecule.

    Raises
    ------
    CalculationFailed
        If the relaxation does not converge, or ends at a saddle point.
    """
    atoms = as_start(molecule)
    atoms.calc = calculator
    if not BFGS(atoms, logfile=None).run(fmax=_FMAX, steps=500):
        raise CalculationFailed(f"{atoms.get_chemical_formula()} did not relax to forces below {_FMAX} eV/Angstrom.")
    masses = np.repeat(atoms.get_masses(), 3)
    weighted = hessian(atoms) / np.sqrt(np.outer(masses, masses))
    inner = _vibrational_space(atoms)
    eigenvalues, vectors = np.linalg.eigh(inner.T @ weighted @ inner)
    if eigenvalues[0] <= 0:
        raise CalculationFailed(
            f"{atoms.get_chemical_formula()} relaxed to a saddle point (an imaginary frequency); displace it a little."
        )
    displacements = (inner @ vectors) / np.sqrt(masses)[:, None]
    minimum = atoms.copy()
    minimum.calc = None
    return NormalModes(
        atoms=minimum, energies=_HBAR * np.sqrt(eigenvalues), vectors=displacements.T.reshape(-1, len(atoms), 3)
    )


def sample_modes(
    modes: NormalModes,
    temperatures: Sequence[float],
    n_geometries: int,
    seed: int | Sequence[int],
    quantum: bool = True,
) -> list[Record]:
    """Draw geometries from the thermal distribution of harmonic vibrations.

    Parameters
    ----------
    modes : NormalModes
        Of the molecule, from ``normal_modes``.
    temperatures : sequence of float
        K.
    n_geometries : int
        Number of geometries at each temperature.
    seed : int or sequence of int
        Of the draw.
    quantum : bool
        Whether the vibrations are quantum oscillators (with zero-point motion) or classical ones.

    Returns
    -------
    list of Record
        In the order of the temperatures; ``info`` has ``temperature``, and what the molecule had. No labels.

    Raises
    ------
    InputError
        If a temperature or the number is not positive.

    Notes
    -----
    The variance of a mass-weighted normal coordinate is hbar / (2 omega) coth(hbar omega / 2 k T), classically
    k T / omega^2 (``test_normal_coordinates_have_the_thermal_variance``).
    """
    check_request(temperatures, n_geometries)
    rng = np.random.default_rng(seed)
    omega = modes.energies / _HBAR
    records = []
    for temperature in temperatures:
        kt = units.kB * temperature
        variance = kt / omega**2
        if quantum:
            variance = _HBAR / (2 * omega) / np.tanh(modes.energies / (2 * kt))
        draws = rng.standard_normal((n_geometries, len(omega))) * np.sqrt(variance)
        positions = modes.atoms.positions + np.einsum("gk,kni->gni", draws, modes.vectors)
        records += [sampled_record(modes.atoms, drawn, temperature) for drawn in positions]
    return records


def hessian(atoms: Atoms) -> NDArray[np.float64]:
    """Find the second derivatives of the energy by central differences of the forces.

    Parameters
    ----------
    atoms : Atoms
        With a calculator; not moved.

    Returns
    -------
    (3 N, 3 N)
        Symmetric, eV/Angstrom^2.
    """
    displaced = atoms.copy()
    displaced.calc = atoms.calc
    rows = []
    for coordinate in range(3 * len(atoms)):
        forces = []
        for sign in (1, -1):
            positions = atoms.positions.copy()
            positions.flat[coordinate] += sign * _STEP
            displaced.positions = positions
            forces.append(displaced.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / (2 * _STEP))
    derivatives: NDArray[np.float64] = np.array(rows)
    return (derivatives + derivatives.T) / 2


def _vibrational_space(atoms: Atoms) -> NDArray[np.float64]:
    """Return an orthonormal basis (3 N, K) of mass-weighted displacements that neither move nor turn the molecule."""
    centred = atoms.positions - atoms.get_center_of_mass()
    weights = np.sqrt(atoms.get_masses())[:, None]
    rigid = [np.ones((len(atoms), 1)) * axis for axis in np.eye(3)] + [np.cross(axis, centred) for axis in np.eye(3)]
    matrix = np.array([(weights * motion).ravel() for motion in rigid]).T  # (3N, 6)
    u, s, _ = np.linalg.svd(matrix, full_matrices=True)
    vibrations: NDArray[np.float64] = u[:, np.count_nonzero(s > 1e-3 * s[0]) :]
    return vibrations
