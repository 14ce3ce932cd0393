"""Closed-shell density matrices from Hamiltonian and overlap, differentiable where orbitals are degenerate.

With S = L L^T and F = L^-1 H L^-T = U diag(eps) U^T, the density is P = 2 L^-T D L^-1, where D = step(F) projects on
the occupied orbitals. D depends on F smoothly as long as there is a gap; the orbitals U do not (they rotate freely
among degenerate levels). So D is differentiated as a function of the matrix F, with the divided differences of the
step function (Daleckii-Krein):

    dD = U (Gamma o (U^T dF U)) U^T,   Gamma_ij = (f_i - f_j) / (eps_i - eps_j),

which vanish between two occupied and between two virtual orbitals. Only gaps eps_a - eps_i appear in denominators.
The second derivative, which training on forces needs, uses the second divided differences f[i, j, k], which are
products of two inverse gaps; see ``_step_curvature``.
"""

from __future__ import annotations

from typing import Any

import torch
from ase.calculators.calculator import CalculationFailed
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["density_matrix", "energy_weighted_density", "orbitals"]


def density_matrix(hamiltonian: Tensor, overlap: Tensor, n_occupied: int | Tensor) -> tuple[Tensor, Tensor]:
    """Solve H C = S C eps and fill the lowest orbitals with two electrons each.

    Parameters
    ----------
    hamiltonian : Tensor, (..., M, M)
        Fock or Kohn-Sham matrices, Hartree; only the symmetric part counts.
    overlap : Tensor, (..., M, M)
        Overlap matrices, positive definite; only the symmetric part counts.
    n_occupied : int or Tensor of integers, (...)
        Doubly occupied orbitals, one number for all or one per system.

    Returns
    -------
    density : Tensor, (..., M, M)
        P = 2 C_occ C_occ^T, with tr[P S] = 2 * n_occupied.
    orbital_energies : Tensor, (..., M)
        All of them in ascending order, Hartree.

    Raises
    ------
    ValueError
        If shapes do not match or ``n_occupied`` is outside 0..M.
    CalculationFailed
        If the overlap is not positive definite or a matrix is not finite.

    Notes
    -----
    ``density`` can be differentiated twice, ``orbital_energies`` once. Derivatives of the density need a gap between
    the highest occupied and the lowest virtual orbital, not between any others (``test_density_gradient_degenerate``);
    a vanishing gap gives infinite derivatives. Derivatives of a single degenerate orbital energy do not exist; those
    of symmetric sums over the degenerate set are right.

    Systems of different size fit in one batch by padding: zeros beside the block, the unit matrix in the overlap and
    a diagonal far above all orbital energies in the Hamiltonian leave density and derivatives of the block unchanged
    (``test_padded_batch_equals_single_systems``).

    Source: Daleckii and Krein (1965); Higham, Functions of Matrices (2008), theorem 3.11.
    """
    factor = _cholesky(hamiltonian, overlap)
    n_orbitals = hamiltonian.shape[-1]
    occupied = _occupied_mask(hamiltonian, n_occupied)
    half = torch.linalg.solve_triangular(factor, _symmetric(hamiltonian), upper=False)  # L^-1 H
    orthogonal = torch.linalg.solve_triangular(factor, half.mT, upper=False)  # L^-1 H L^-T
    projector, energies = _Projector.apply(_symmetric(orthogonal), occupied)  # type: ignore[no-untyped-call]
    identity = torch.eye(n_orbitals, dtype=factor.dtype, device=factor.device).expand_as(factor)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
    return 2.0 * inverse.mT @ projector @ inverse, energies


def energy_weighted_density(density: Tensor, hamiltonian: Tensor) -> Tensor:
    """Weight the density with the orbital energies: W = 2 C_occ eps_occ C_occ^T.

    Parameters
    ----------
    density : Tensor, (..., M, M)
        P of the eigenvectors of ``hamiltonian``, from `density_matrix`.
    hamiltonian : Tensor, (..., M, M)
        Hartree.

    Returns
    -------
    Tensor, (..., M, M)
        Hartree.

    Notes
    -----
    Computed as P H P / 2, which equals W because C_occ^T H C_occ = eps_occ; free of any choice of orbitals, and
    differentiable twice (``test_energy_weighted_density``).
    """
    return 0.5 * density @ _symmetric(hamiltonian) @ density


def orbitals(hamiltonian: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
    """Solve H C = S C eps for the orbitals themselves, without derivatives.

    Parameters
    ----------
    hamiltonian, overlap : Tensor, (..., M, M)
        As in `density_matrix`.

    Returns
    -------
    coefficients : Tensor, (..., M, M)
        Orbitals in columns, C^T S C = 1; phases and rotations among degenerate orbitals are arbitrary.
    orbital_energies : Tensor, (..., M)
        Ascending, Hartree.

    Raises
    ------
    ValueError, CalculationFailed
        As in `density_matrix`.
    """
    with torch.no_grad():
        factor = _cholesky(hamiltonian, overlap)
        half = torch.linalg.solve_triangular(factor, _symmetric(hamiltonian), upper=False)
        orthogonal = torch.linalg.solve_triangular(factor, half.mT, upper=False)
        energies, vectors = _eigh(_symmetric(orthogonal))
        return torch.linalg.solve_triangular(factor.mT, vectors, upper=True), energies


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)


def _cholesky(hamiltonian: Tensor, overlap: Tensor) -> Tensor:
    """Check the pair of matrices; return the lower Cholesky factor of the overlap."""
    if hamiltonian.dim() < 2 or hamiltonian.shape[-1] != hamiltonian.shape[-2]:
        raise ValueError(f"hamiltonian has shape {tuple(hamiltonian.shape)}; give square matrices (..., M, M)")
    if overlap.shape != hamiltonian.shape:
        raise ValueError(
            f"overlap has shape {tuple(overlap.shape)} but hamiltonian {tuple(hamiltonian.shape)}; they must be equal"
        )
    if overlap.dtype != hamiltonian.dtype or overlap.device != hamiltonian.device:
        raise ValueError(
            f"overlap is {overlap.dtype} on {overlap.device} but hamiltonian {hamiltonian.dtype} on "
            f"{hamiltonian.device}; convert one of them"
        )
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(_symmetric(overlap))
    if bool(info.any()):
        raise CalculationFailed(
            "the overlap matrix is not positive definite: atoms may coincide, or the basis is linearly dependent"
        )
    return factor


def _occupied_mask(hamiltonian: Tensor, n_occupied: int | Tensor) -> Tensor:
    """Mark the occupied among ascending orbitals: (..., M), 1 or 0 in the dtype of the Hamiltonian."""
    n_orbitals = hamiltonian.shape[-1]
    numbers = torch.as_tensor(n_occupied, device=hamiltonian.device)
    if numbers.is_floating_point():
        raise ValueError(f"n_occupied must be integers, not {numbers.dtype}")
    if numbers.dim() and numbers.shape != hamiltonian.shape[:-2]:
        raise ValueError(
            f"n_occupied has shape {tuple(numbers.shape)}; give one integer or shape {tuple(hamiltonian.shape[:-2])}"
        )
    if bool((numbers < 0).any()) or bool((numbers > n_orbitals).any()):
        raise ValueError(f"n_occupied = {numbers.tolist()} is outside 0..{n_orbitals}, the number of orbitals")
    mask = torch.arange(n_orbitals, device=hamiltonian.device) < numbers.unsqueeze(-1)
    return mask.to(hamiltonian.dtype).expand(hamiltonian.shape[:-1])


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    try:
        energies, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise CalculationFailed("the Hamiltonian could not be diagonalised: it has NaN or infinite elements") from error
    if not bool(torch.isfinite(energies).all()):
        raise CalculationFailed("the Hamiltonian has NaN or infinite elements")
    return energies, vectors


def _inverse_gaps(energies: Tensor, occupied: Tensor) -> Tensor:
    """Return g_ia = 1 / (eps_i - eps_a) for occupied i and virtual a, 0 elsewhere: (..., M, M)."""
    pairs = (occupied.unsqueeze(-1) * (1.0 - occupied).unsqueeze(-2)).bool()
    difference = energies.unsqueeze(-1) - energies.unsqueeze(-2)
    return torch.where(pairs, difference, torch.inf).reciprocal()


def _step_curvature(G: Tensor, Z: Tensor, g: Tensor, occupied: Tensor) -> Tensor:
    """Contract two directions with the second divided differences of the step function.

    M_ik = sum_j f[i, j, k] (G_ij Z_jk + Z_ij G_jk), all in the basis of orbitals, G and Z symmetric, with

        f[i, j, a] = -g_ia g_ja       two occupied (i, j), one virtual (a),
        f[i, a, b] = +g_ia g_ib       one occupied (i), two virtual (a, b),

    symmetric in its arguments and 0 otherwise. Written in blocks, this is a handful of matrix products.
    """
    virtual = 1.0 - occupied
    in_occupied = occupied.unsqueeze(-1) * occupied.unsqueeze(-2)
    in_virtual = virtual.unsqueeze(-1) * virtual.unsqueeze(-2)
    gG, gZ = g * G, g * Z  # occupied-virtual blocks
    mixed = gG @ (in_virtual * Z) + gZ @ (in_virtual * G) - (in_occupied * G) @ gZ - (in_occupied * Z) @ gG
    block = g * mixed
    occupied_block = -(gG @ gZ.mT + gZ @ gG.mT)
    virtual_block = gG.mT @ gZ + gZ.mT @ gG
    return occupied_block + virtual_block + block + block.mT


class _Projector(torch.autograd.Function):
    """(F, occupied) -> (D, eps): projector on the occupied orbitals of F, and all orbital energies."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, occupied: Tensor) -> tuple[Tensor, Tensor]:
        energies, vectors = _eigh(matrix)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(matrix, energies, vectors, occupied)
        return (vectors * occupied.unsqueeze(-2)) @ vectors.mT, energies.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        matrix, energies, vectors, occupied = ctx.saved_tensors
        of_projector, of_energies = gradients
        total: Tensor | None = None
        if of_projector is not None:
            total = _ProjectorGradient.apply(  # type: ignore[no-untyped-call]
                matrix, of_projector, energies, vectors, occupied
            )
        if of_energies is not None:
            of_matrix = _EnergyGradient.apply(matrix, of_energies, vectors)  # type: ignore[no-untyped-call]
            total = of_matrix if total is None else total + of_matrix
        return total, None


class _ProjectorGradient(torch.autograd.Function):
    """(F, G) -> U (Gamma o (U^T G U)) U^T, the derivative of <G, D(F)>."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, direction: Tensor, energies: Tensor, vectors: Tensor, occupied: Tensor
    ) -> Tensor:
        gaps = _inverse_gaps(energies, occupied)
        rotated = vectors.mT @ _symmetric(direction) @ vectors
        ctx.save_for_backward(rotated, gaps, vectors, occupied)
        return vectors @ ((gaps + gaps.mT) * rotated) @ vectors.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        G, g, vectors, occupied = ctx.saved_tensors
        Z = vectors.mT @ _symmetric(gradient) @ vectors
        of_matrix = vectors @ _step_curvature(G, Z, g, occupied) @ vectors.mT
        of_direction = vectors @ ((g + g.mT) * Z) @ vectors.mT
        return of_matrix, of_direction, None, None, None


class _EnergyGradient(torch.autograd.Function):
    """(F, v) -> U diag(v) U^T, the derivative of <v, eps(F)>; not differentiable again."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
        return (vectors * weights.unsqueeze(-2)) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        raise RuntimeError(
            "second derivatives of orbital energies are not available (they divide by differences of occupied levels); "
            "use create_graph=True only on functions of the density matrix"
        )
