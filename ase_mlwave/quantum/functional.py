"""Kohn-Sham (or Hartree-Fock) energies and gradients of a given density, through any PySCF mean-field object.

A density P that is almost self-consistent has an energy whose error is of second order in the error of P. For
gradients there is a choice, cheap first:

- `kohn_sham_gradient` at the predicted orbitals: PySCF's formula, right for self-consistent orbitals, so its error is
  of first order in the error of P. With orbitals of the Fock matrix F[P] that `evaluate_functional` returns anyway
  (one more eigenproblem) the error is about a quarter of that.
- `kohn_sham_functional` with autograd: the derivative of E[P(R)] itself, where the model's P(R) supplies dP/dR. Its
  forces belong exactly to its energy, and their error is of second order too.

With 10 uHa of error in the Hamiltonian of water that varies smoothly with the geometry, PBE/def2-SVP, the three give
mean force errors of 0.4, 0.2 and 0.002 meV/Angstrom, and the energy is 0.001 meV too high.

All of them have the response of the integration grid, whose points and weights move with the atoms. Without it PySCF's
gradient differs from the derivative of its energy by 1e-5 Hartree/Bohr at grid level 3, enough that a tight relaxation
runs away, and the forces of a molecule do not sum to zero (Johnson, Gill, Pople, J. Chem. Phys. 98, 5612 (1993)). It
takes no more time: `ase_mlwave.quantum.semilocal`.

Everything here is silent and writes no checkpoint file, whatever the settings of the mean-field object.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyscf
import scipy.linalg
import torch
from ase.calculators.calculator import SCFError
from numpy.typing import NDArray
from pyscf import lib
from torch import Tensor
from torch.autograd.function import once_differentiable

from ase_mlwave.quantum.gpu import for_device, is_on_gpu, to_numpy
from ase_mlwave.quantum.names import without_evaluation
from ase_mlwave.quantum.semilocal import semilocal_terms, serves_semilocal

__all__ = [
    "ScfResult",
    "converge",
    "energy_drop",
    "evaluate_functional",
    "explicit_gradient",
    "functional_and_drop",
    "gradient_method",
    "kohn_sham_energy",
    "kohn_sham_functional",
    "kohn_sham_gradient",
    "natural_orbitals",
    "scf_result",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScfResult:
    """A converged self-consistent field."""

    energy: float
    """Hartree."""
    forces: Array | None
    """Hartree/Bohr, (N, 3); None if they were not asked for."""
    cycles: int | None
    """SCF iterations; None where the program does not count them (gpu4pyscf before 1.5.1)."""
    density: Array
    """P, (M, M), or (2, M, M) for an unrestricted method."""
    orbital_energies: Array
    """Hartree, (M,) or (2, M)."""


def evaluate_functional(mean_field: Any, density: Array) -> tuple[float, Array]:
    """Evaluate the energy functional and its derivative, the Fock matrix, at a closed-shell density.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        RKS or RHF, with or without density fitting, or its gpu4pyscf kin; its molecule has the geometry.
    density : ndarray, (M, M)
        P in the molecule's AO order.

    Returns
    -------
    energy : float
        E[P] with nuclear repulsion, Hartree; the variational minimum if P is self-consistent.
    fock : ndarray, (M, M)
        F[P] = dE/dP, Hartree.

    Raises
    ------
    ValueError
        If ``density`` has another shape than the molecule's matrices, or is not finite.
    """
    density = _checked_density(mean_field, density)
    with _quiet(mean_field):
        P = for_device(mean_field, density) if is_on_gpu(mean_field) else _with_orbitals(mean_field, density)
        core = mean_field.get_hcore()
        potential = mean_field.get_veff(mean_field.mol, P)
        energy = float(mean_field.energy_tot(P, h1e=core, vhf=potential))
        return energy, to_numpy(core) + to_numpy(potential)


def kohn_sham_energy(mean_field: Any, density: Array) -> float:
    """Evaluate the energy functional alone; see `evaluate_functional`.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        RKS or RHF.
    density : ndarray, (M, M)
        P in the molecule's AO order.

    Returns
    -------
    float
        Hartree.

    Notes
    -----
    The error is of second order in the error of P (``test_energy_error_is_second_order``).
    """
    return evaluate_functional(mean_field, density)[0]


def energy_drop(fock: Array, overlap: Array, density: Array) -> float:
    """Tell how far a density is from self-consistency: tr[F (P - P')] with the density P' of F's lowest orbitals.

    Parameters
    ----------
    fock : ndarray, (M, M)
        F[P], Hartree.
    overlap : ndarray, (M, M)
        Positive definite.
    density : ndarray, (M, M)
        P, of doubly occupied orbitals.

    Returns
    -------
    float
        Hartree, not negative, and zero for the density of the lowest orbitals of its own Fock matrix.

    Notes
    -----
    To second order 2 sum_ia |F_ia|^2 / (eps_a - eps_i), the error of E[P] if electrons did not repel one another: as
    their repulsion stiffens the density against changes, the error is smaller
    (``test_energy_error_is_below_the_drop``). No Fock matrix beyond F[P] is needed.
    """
    n_occupied = round(0.5 * float(np.vdot(density, overlap)))
    orbitals = scipy.linalg.eigh(fock, overlap)[1][:, :n_occupied]
    return max(0.0, float(np.vdot(fock, density) - 2 * np.vdot(orbitals, fock @ orbitals)))


def gradient_method(mean_field: Any, *, grid_response: bool = True, exchange: Array | None = None) -> Any:
    """Return PySCF's gradient object of a mean field, silent.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Any, or its gpu4pyscf kin.
    grid_response : bool
        Whether the gradient has the response of the integration grid, so that it is the derivative of the energy.
        Without meaning for Hartree-Fock theory, which has no grid.
    exchange : ndarray, (N, 3), optional
        The functional's part of the gradient, Hartree/Bohr, where `semilocal_terms` has computed it already.

    Returns
    -------
    PySCF gradient object
        Its ``kernel`` raises ``NotImplementedError`` where a PySCF of some age has no response for the functional.

    Notes
    -----
    The part of functionals that `serves_semilocal` tells, PBE among them, is our own: the same numbers in a third of
    the time (``test_semilocal_gradient_is_that_of_pyscf``).
    """
    method = mean_field.nuc_grad_method()
    method.verbose = 0
    if hasattr(method, "grid_response"):
        method.grid_response = grid_response
        if grid_response and serves_semilocal(mean_field):
            method.get_veff = partial(_semilocal_veff, method, method.get_veff, exchange)
    return method


def kohn_sham_gradient(
    mean_field: Any,
    coefficients: Array,
    orbital_energies: Array,
    occupations: Array | None = None,
    *,
    grid_response: bool = True,
) -> Array:
    """Evaluate PySCF's analytic gradient at given orbitals, self-consistent or not.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        RKS or RHF; its own orbitals are neither used nor changed.
    coefficients : ndarray, (M, M)
        Orbitals in columns, C^T S C = 1.
    orbital_energies : ndarray, (M,)
        They enter the energy-weighted density W = sum_i n_i eps_i C_i C_i^T, Hartree.
    occupations : ndarray, (M,), optional
        2 for occupied, 0 for virtual; the lowest orbitals by default.
    grid_response : bool
        See `gradient_method`; where PySCF lacks it, a warning says so.

    Returns
    -------
    ndarray, (N, 3)
        dE/dR, Hartree/Bohr.

    Raises
    ------
    ValueError
        If shapes do not fit the molecule.

    Notes
    -----
    Equals PySCF's gradient at self-consistency (``test_values_at_self_consistency``).
    """
    mole = mean_field.mol
    size = mole.nao
    if occupations is None:
        occupations = np.zeros(size)
        occupations[np.argsort(orbital_energies)[: mole.nelectron // 2]] = 2.0
    if coefficients.shape != (size, size) or orbital_energies.shape != (size,) or occupations.shape != (size,):
        raise ValueError(
            f"coefficients {coefficients.shape}, orbital_energies {orbital_energies.shape} and occupations "
            f"{occupations.shape} do not fit the molecule's {size} basis functions; give ({size}, {size}), ({size},), "
            f"({size},)"
        )
    with _quiet(mean_field):
        arguments = (for_device(mean_field, array) for array in (orbital_energies, coefficients, occupations))
        return _gradient(mean_field, *arguments, grid_response=grid_response)


def kohn_sham_functional(positions: Tensor, density: Tensor, mean_field: Any) -> Tensor:
    """Evaluate E[P] as a function that autograd can follow: dE/dP = F[P], dE/dR at fixed P.

    Parameters
    ----------
    positions : Tensor, (N, 3)
        Those of ``mean_field.mol``, Bohr.
    density : Tensor, (M, M)
        P, a differentiable function of the positions, such as a model's.
    mean_field : PySCF mean-field object
        RKS or RHF.

    Returns
    -------
    Tensor, ()
        Hartree, float64.

    Raises
    ------
    ValueError
        If positions are not those of the molecule, or natural occupations are not 0 and 2 (needed for dE/dR only).

    Notes
    -----
    The total derivative with respect to the positions is that of the energy as computed, the integration grid's motion
    included (``test_functional_derivative_is_that_of_the_energy``). Differentiable once.
    """
    return functional_and_drop(positions, density, mean_field)[0]


def functional_and_drop(positions: Tensor, density: Tensor, mean_field: Any) -> tuple[Tensor, float]:
    """Evaluate `kohn_sham_functional`, and `energy_drop` with the Fock matrix that it computes anyway.

    Parameters
    ----------
    positions, density, mean_field
        As of `kohn_sham_functional`.

    Returns
    -------
    energy : Tensor, ()
        Hartree, float64.
    drop : float
        Hartree.

    Raises
    ------
    ValueError
        As `kohn_sham_functional`.
    """
    if not np.allclose(positions.detach().cpu().numpy(), mean_field.mol.atom_coords(), rtol=0, atol=1e-5):
        raise ValueError("positions differ from those of mean_field.mol; build the mean field at these positions, Bohr")
    energy, drop = _Functional.apply(positions, density, mean_field)  # type: ignore[no-untyped-call]
    return energy, drop


def converge(
    mean_field: Any, density: Array | None = None, *, forces: bool = True, grid_response: bool = True
) -> ScfResult:
    """Run the SCF to self-consistency, from a given density or PySCF's own guess.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Any; it keeps the result, as after its own ``kernel()``.
    density : ndarray, (M, M) or (2, M, M), optional
        Initial density; see `ase_mlwave.quantum.initial_guess.adapt_density`.
    forces : bool
        Also evaluate the analytic gradient.
    grid_response : bool
        See `gradient_method`; where PySCF lacks it, a warning says so.

    Returns
    -------
    ScfResult
        Energy, forces, cycles, density and orbital energies.

    Raises
    ------
    SCFError
        If the SCF does not converge within ``mean_field.max_cycle`` iterations, or diverges.
    """
    with _quiet(mean_field):
        mean_field.kernel(dm0=density)
        if not mean_field.converged:
            raise SCFError(
                f"the SCF did not converge to {mean_field.conv_tol:g} Hartree in {mean_field.max_cycle} cycles "
                f"(last energy {float(mean_field.e_tot):.8f} Hartree); check the geometry, raise max_cycle, or use a "
                "second-order solver (mean_field.newton())"
            )
    return scf_result(mean_field, forces=forces, grid_response=grid_response)


def scf_result(mean_field: Any, *, forces: bool = True, grid_response: bool = True) -> ScfResult:
    """Read what a converged mean field holds; arguments as those of `converge`."""
    with _quiet(mean_field):
        return ScfResult(
            energy=float(mean_field.e_tot),
            forces=-_gradient(mean_field, grid_response=grid_response) if forces else None,
            cycles=getattr(mean_field, "cycles", None),
            density=to_numpy(mean_field.make_rdm1()),
            orbital_energies=to_numpy(mean_field.mo_energy),
        )


class _Functional(torch.autograd.Function):
    """(positions, P) -> E; and, without derivatives, the drop of the energy."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, density: Tensor, mean_field: Any) -> tuple[Tensor, float]:
        P = density.detach().cpu().double().numpy()
        if ctx.needs_input_grad[0] and serves_semilocal(mean_field):
            energy, fock, ctx.explicit = _in_one_pass(mean_field, _checked_density(mean_field, P))
        else:
            energy, fock = evaluate_functional(mean_field, P)
            ctx.explicit = None
        ctx.mean_field, ctx.P, ctx.fock = mean_field, P, fock
        ctx.templates = (positions.new_empty(0), density.new_empty(0))
        drop = energy_drop(fock, to_numpy(mean_field.get_ovlp()), P)
        return torch.tensor(energy, dtype=torch.float64, device=density.device), drop

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, Tensor | None, None]:
        of_positions = of_density = None
        positions, density = ctx.templates  # empty: their dtypes and devices are what counts
        if ctx.needs_input_grad[0]:
            explicit = ctx.explicit
            if explicit is None:
                coefficients, occupations = natural_orbitals(ctx.mean_field, ctx.P)
                explicit = kohn_sham_gradient(ctx.mean_field, coefficients, np.zeros_like(occupations), occupations)
            of_positions = gradient.to(positions) * torch.from_numpy(explicit).to(positions)
        if ctx.needs_input_grad[1]:
            of_density = gradient.to(density) * torch.from_numpy(ctx.fock).to(density)
        return of_positions, of_density, None


def _gradient(mean_field: Any, *orbitals: Any, grid_response: bool) -> Array:
    """Evaluate dE/dR at the given or the mean field's own orbitals, with the grid's response where PySCF has it."""
    if orbitals and is_on_gpu(mean_field):  # some versions of gpu4pyscf take a part of the orbitals from the mean field
        mean_field = mean_field.copy()
        mean_field.mo_energy, mean_field.mo_coeff, mean_field.mo_occ = orbitals
    try:
        return to_numpy(gradient_method(mean_field, grid_response=grid_response).kernel(*orbitals))
    except NotImplementedError as error:
        if not grid_response:
            raise
        warnings.warn(
            f"PySCF {pyscf.__version__} has no response of the integration grid for {mean_field.xc!r} ({error}): "
            "forces deviate from the derivative of the energy by about 1e-5 Hartree/Bohr. Update PySCF.",
            stacklevel=2,
        )
        return to_numpy(gradient_method(mean_field, grid_response=False).kernel(*orbitals))


def _semilocal_veff(method: Any, usual: Any, exchange: Array | None, mole: Any = None, density: Any = None) -> Any:
    """Give a gradient object what its ``get_veff`` does: derivatives of Coulomb integrals, and of the rest in a tag."""
    occupations = getattr(density, "mo_occ", None)
    if occupations is None or not np.isin(occupations, (0, 2)).all():
        return usual(mole, density)
    coulomb = method.get_j(mole, density)
    if exchange is None:
        exchange = semilocal_terms(method.base, np.asarray(density.mo_coeff)[:, occupations > 0]).gradient
    fitted = {"aux": coulomb.aux.sum((0, 1))} if getattr(method, "auxbasis_response", False) else {}
    return lib.tag_array(coulomb, exc1_grid=exchange, **fitted)


def _in_one_pass(mean_field: Any, density: Array) -> tuple[float, Array, Array]:
    """Evaluate energy, Fock matrix and explicit gradient of a semilocal method, its grid visited once."""
    coefficients, occupations = natural_orbitals(mean_field, density)
    with _quiet(mean_field):
        terms = semilocal_terms(mean_field, coefficients[:, occupations > 0], potential=True)
        core, coulomb = mean_field.get_hcore(), mean_field.get_j(mean_field.mol, density)
        repulsion = 0.5 * np.vdot(coulomb, density)
        potential = lib.tag_array(coulomb + terms.potential, ecoul=repulsion, exc=terms.energy, vj=coulomb, vk=None)
        energy = float(mean_field.energy_tot(density, h1e=core, vhf=potential))
    gradient = explicit_gradient(mean_field, coefficients, np.zeros_like(occupations), occupations, terms.gradient)
    return energy, np.array(core + potential), gradient


def explicit_gradient(
    mean_field: Any, coefficients: Array, orbital_energies: Array, occupations: Array, exchange: Array
) -> Array:
    """Evaluate PySCF's gradient at given orbitals, (N, 3), Hartree/Bohr, with the functional's part as it was found.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        One that `serves_semilocal`.
    coefficients, orbital_energies, occupations
        As of `kohn_sham_gradient`.
    exchange : ndarray, (N, 3)
        As of `gradient_method`.
    """
    with _quiet(mean_field):
        method = gradient_method(mean_field, exchange=exchange)
        return to_numpy(method.kernel(orbital_energies, coefficients, occupations))


def _with_orbitals(mean_field: Any, density: Array) -> Array:
    """Tell PySCF the orbitals of a density, where it has any: they halve the time on the grid."""
    try:
        coefficients, occupations = natural_orbitals(mean_field, density, tolerance=1e-9)
    except ValueError:
        return density
    tagged: Array = lib.tag_array(density, mo_coeff=coefficients, mo_occ=occupations)
    return tagged


def natural_orbitals(mean_field: Any, density: Array, tolerance: float = 1e-5) -> tuple[Array, Array]:
    """Find orbitals (M, M) that carry a density: S P S C = S C n with n = 2 or 0, (M,); else raise ``ValueError``."""
    overlap = mean_field.mol.intor_symmetric("int1e_ovlp")
    occupations, coefficients = scipy.linalg.eigh(overlap @ density @ overlap, overlap)
    whole_occupations = 2.0 * np.round(0.5 * occupations)
    if np.abs(occupations - whole_occupations).max() > tolerance or not np.isin(whole_occupations, (0.0, 2.0)).all():
        raise ValueError(
            "the density is not that of doubly occupied orbitals (P S P = 2 P fails); take it from density_matrix"
        )
    return coefficients, whole_occupations


def _checked_density(mean_field: Any, density: Array) -> Array:
    density = np.asarray(density, dtype=np.float64)
    size = mean_field.mol.nao
    if density.shape != (size, size):
        raise ValueError(f"density has shape {density.shape}; the molecule's basis needs ({size}, {size})")
    if not np.isfinite(density).all():
        raise ValueError("density has NaN or infinite elements")
    return density


@contextmanager
def _quiet(mean_field: Any) -> Iterator[None]:
    """Silence PySCF, keep it from writing its checkpoint file and from evaluating text."""
    objects: list[Any] = [mean_field, mean_field.mol]
    objects += [getattr(mean_field, name) for name in ("grids", "nlcgrids", "with_df") if hasattr(mean_field, name)]
    silenced = [(item, item.verbose) for item in objects if hasattr(item, "verbose")]
    checkpoint = mean_field.chkfile
    for item, _ in silenced:
        item.verbose = 0
    mean_field.chkfile = None
    try:
        with without_evaluation():
            yield
    finally:
        for item, verbose in silenced:
            item.verbose = verbose
        mean_field.chkfile = checkpoint
