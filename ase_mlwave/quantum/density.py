"""Closed-shell density matrices from Hamiltonian and overlap, differentiable where orbitals are degenerate.

With C^T S C = 1 and H C = S C eps, the density is P = 2 C_occ C_occ^T. It depends on H and S smoothly as long as there
is a gap; the orbitals C do not (they rotate freely among degenerate levels). So P is differentiated as a function of
matrices: about a solution, with C held fixed,

    s = C^T S C = 1 + E,    B = s^(-1/2) = 1 - E/2 + 3 E^2/8,    F = B (C^T H C) B,    P = 2 C B D B C^T,

where D = step(F) projects on the occupied orbitals of F, which is diagonal at the solution. The derivative of D are the
divided differences of the step function (Daleckii-Krein):

    dD = Gamma o dF,   Gamma_ij = (f_i - f_j) / (eps_i - eps_j),

which vanish between two occupied and between two virtual orbitals. Only gaps eps_a - eps_i appear in denominators.
The second derivative, which training on forces needs, uses the second divided differences f[i, j, k], which are
products of two inverse gaps; see ``_step_curvature``.

Purification, which makes D of matrix products alone, was measured and lost: second-order spectral projection (Niklasson
2002) of PBE/def2-SVP Hamiltonians to 1e-11 took 31 to 37 products, canonical purification (Palser and Manolopoulos
1998) 44 to 58. On one thread, CPU-ms of eigh / the former / the latter:

    M         24                 72                 114                300
    B = 1     0.06 / 1.5 / 1.7   0.34 / 2.8 / 3.7   0.92 / 5.5 / 8.6   8.7 / 51 / 86
    B = 64    2.3 / 5.7 / 8.7    21 / 86 / 176      57 / 361 / 807     576 / 6664 / 13990

A GPU would start some 300 kernels for it, and derivatives need the orbitals anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase.calculators.calculator import CalculationFailed
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["density_matrix", "energy_weighted_density", "orbitals", "penalised"]


def density_matrix(
    hamiltonian: Tensor, overlap: Tensor, n_occupied: int | Tensor, n_orbitals: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Solve H C = S C eps and fill the lowest orbitals with two electrons each.

    Parameters
    ----------
    hamiltonian : Tensor, (..., M, M)
        Fock or Kohn-Sham matrices, Hartree; only the symmetric part counts.
    overlap : Tensor, (..., M, M)
        Overlap matrices, positive definite; only the symmetric part counts.
    n_occupied : int or Tensor of integers, (...)
        Doubly occupied orbitals, one number for all or one per system.
    n_orbitals : Tensor of integers, (...), optional
        Size of each system where they differ: what is beyond is padding, zeros in both matrices.

    Returns
    -------
    density : Tensor, (..., M, M)
        P = 2 C_occ C_occ^T, with tr[P S] = 2 * n_occupied.
    orbital_energies : Tensor, (..., M)
        All of them in ascending order, Hartree; those of padding are the last, far above.

    Raises
    ------
    ValueError
        If shapes do not match or ``n_occupied`` is outside 0..M (on a GPU that is not looked at).
    CalculationFailed
        If the overlap is not positive definite or a matrix is not finite.

    Notes
    -----
    ``density`` can be differentiated twice, ``orbital_energies`` once. Derivatives of the density need a gap between
    the highest occupied and the lowest virtual orbital, not between any others (``test_density_gradient_degenerate``);
    a vanishing gap gives infinite derivatives. Derivatives of a single degenerate orbital energy do not exist; those
    of symmetric sums over the degenerate set are right.

    Padding leaves density and derivatives of the block unchanged (``test_padded_batch_equals_single_systems``): it is
    given the unit matrix as overlap and a level far above all others. Results are looked at once, after the
    eigenproblem, which waits for the device anyway.

    Source: Daleckii and Krein (1965); Higham, Functions of Matrices (2008), theorem 3.11.
    """
    _check(hamiltonian, overlap)
    occupied = _occupied_mask(hamiltonian, n_occupied)
    padding = None
    if n_orbitals is not None:
        padding = 1.0 - _occupied_mask(hamiltonian, n_orbitals)
        overlap = overlap + torch.diag_embed(padding)
    density, energies = _Density.apply(hamiltonian, overlap, occupied, padding)  # type: ignore[no-untyped-call]
    return density, energies


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
    _check(hamiltonian, overlap)
    with torch.no_grad():
        return _solve(hamiltonian, overlap)


def penalised(hamiltonian: Tensor, overlap: Tensor, penalty: float, n_orbitals: Tensor | None = None) -> Tensor:
    """Lift almost linearly dependent combinations of basis functions: H + penalty S^-1.

    Parameters
    ----------
    hamiltonian, overlap : Tensor, (..., M, M)
        As in `density_matrix`.
    penalty : float
        Hartree; with 0 nothing is done.
    n_orbitals : Tensor of integers, (...), optional
        As in `density_matrix`.

    Returns
    -------
    Tensor, (..., M, M)
        Hartree; twice differentiable.

    Notes
    -----
    The normalised combination with the eigenvalue s of S is lifted by penalty / s^2. Errors of a predicted H are
    multiplied by 1 / s there, and the largest of them make spurious orbitals among the occupied ones
    (``test_penalty_keeps_errors_of_dependent_functions_from_occupied_orbitals``). Molecules far apart do not feel one
    another's penalty. `docs/warm_start.md` has what it gains, and what else was tried.
    """
    if not penalty:
        return hamiltonian
    overlap = _symmetric(overlap)
    if n_orbitals is not None:
        overlap = overlap + torch.diag_embed(1.0 - _occupied_mask(hamiltonian, n_orbitals))
    # A matrix without inverse is left to `density_matrix`, which says what is wrong with it.
    inverse: Tensor = torch.linalg.inv_ex(overlap)[0]
    return hamiltonian + penalty * inverse


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)


def _check(hamiltonian: Tensor, overlap: Tensor) -> None:
    """Refuse matrices that are no pair."""
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


def _solve(hamiltonian: Tensor, overlap: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Solve H C = S C eps, with levels far above for padding (..., M): orbitals in columns, and their energies."""
    factor, info = torch.linalg.cholesky_ex(_symmetric(overlap))
    half = torch.linalg.solve_triangular(factor, _symmetric(hamiltonian), upper=False)  # L^-1 H
    orthogonal = torch.linalg.solve_triangular(factor.mT, half, upper=True, left=False)  # L^-1 H L^-T
    if padding is not None:
        far = 1.0 + torch.linalg.matrix_norm(orthogonal, keepdim=True)[..., 0]  # no level is above the norm
        orthogonal = orthogonal + torch.diag_embed(far * padding)
    try:
        energies, vectors = torch.linalg.eigh(orthogonal)
        sound = energies.is_meta or not bool((info | ~energies.isfinite().all(-1)).any())  # the one look at results
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        sound = False
    if sound:
        return torch.linalg.solve_triangular(factor.mT, vectors, upper=True), energies
    if bool(info.any()):
        raise CalculationFailed(
            "the overlap matrix is not positive definite: atoms may coincide, or the basis is linearly dependent"
        )
    raise CalculationFailed("the Hamiltonian could not be diagonalised: it has NaN or infinite elements")


def _occupied_mask(hamiltonian: Tensor, n_occupied: int | Tensor) -> Tensor:
    """Mark the first orbitals of each system: (..., M), 1 or 0 in the dtype of the Hamiltonian."""
    n_orbitals = hamiltonian.shape[-1]
    numbers = torch.as_tensor(n_occupied, device=hamiltonian.device)
    if numbers.is_floating_point():
        raise ValueError(f"n_occupied must be integers, not {numbers.dtype}")
    if numbers.dim() and numbers.shape != hamiltonian.shape[:-2]:
        raise ValueError(
            f"n_occupied has shape {tuple(numbers.shape)}; give one integer or shape {tuple(hamiltonian.shape[:-2])}"
        )
    if numbers.device.type == "cpu" and bool(((numbers < 0) | (numbers > n_orbitals)).any()):
        raise ValueError(f"n_occupied = {numbers.tolist()} is outside 0..{n_orbitals}, the number of orbitals")
    mask = torch.arange(n_orbitals, device=hamiltonian.device) < numbers.unsqueeze(-1)
    return mask.to(hamiltonian.dtype).expand(hamiltonian.shape[:-1])


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


class _Density(torch.autograd.Function):
    """(H, S, occupied, padding) -> (P, eps)."""

    @staticmethod
    def forward(
        ctx: Any, hamiltonian: Tensor, overlap: Tensor, occupied: Tensor, padding: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        C, energies = _solve(hamiltonian, overlap, padding)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(hamiltonian, overlap, C, energies, occupied)
        return 2.0 * (C * occupied.unsqueeze(-2)) @ C.mT, energies.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        if torch.is_grad_enabled():
            of_hamiltonian, of_overlap = _differentiable_gradient(ctx.saved_tensors, gradients, ctx.needs_input_grad)
            return of_hamiltonian, of_overlap, None, None
        _, _, C, energies, occupied = ctx.saved_tensors
        of_density, of_energies = gradients
        of_both = C.new_zeros(2, *C.shape)  # with respect to C^T H C and C^T S C
        if of_density is not None:
            G = C.mT @ _symmetric(of_density) @ C
            g = _inverse_gaps(energies, occupied)
            gamma = g + g.mT
            sums = gamma * (energies.unsqueeze(-1) + energies.unsqueeze(-2)) + occupied.unsqueeze(-1)
            of_both = torch.stack([2.0 * gamma, -(sums + occupied.unsqueeze(-2))]) * G
        if of_energies is not None:
            of_both.diagonal(dim1=-2, dim2=-1).add_(torch.stack([of_energies, -of_energies * energies]))
        of_hamiltonian, of_overlap = C @ of_both @ C.mT
        return of_hamiltonian, of_overlap, None, None


def _differentiable_gradient(
    saved: Sequence[Tensor], gradients: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Differentiate the expansion about a solution, see the module, in a way that can be differentiated again."""
    hamiltonian, overlap, C, energies, occupied = saved
    one = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device)
    E = C.mT @ _symmetric(overlap) @ C - one
    B = one - 0.5 * E + 0.375 * E @ E
    F = B @ (C.mT @ _symmetric(hamiltonian) @ C) @ B
    D, eps = _Step.apply(F, energies, occupied)  # type: ignore[no-untyped-call]
    X = C @ B
    values = 2.0 * X @ D @ X.mT, eps
    pairs = [(value, given) for value, given in zip(values, gradients, strict=True) if given is not None]
    inputs = [matrix for matrix, is_needed in zip((hamiltonian, overlap), needed, strict=False) if is_needed]
    found = iter(torch.autograd.grad([v for v, _ in pairs], inputs, [g for _, g in pairs], create_graph=True))
    return [next(found) if is_needed else None for is_needed in needed[:2]]


class _Step(torch.autograd.Function):
    """F, diagonal here -> (step(F), eps)."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, energies: Tensor, occupied: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(matrix, energies, occupied)
        return torch.diag_embed(occupied), energies.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        matrix, energies, occupied = ctx.saved_tensors
        of_projector, of_energies = gradients
        total: Tensor | None = None
        if of_projector is not None:
            total = _StepGradient.apply(matrix, of_projector, energies, occupied)  # type: ignore[no-untyped-call]
        if of_energies is not None:
            of_matrix = _LevelGradient.apply(matrix, of_energies)  # type: ignore[no-untyped-call]
            total = of_matrix if total is None else total + of_matrix
        return total, None, None


class _StepGradient(torch.autograd.Function):
    """(F, G) -> Gamma o G, the derivative of <G, step(F)>."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, direction: Tensor, energies: Tensor, occupied: Tensor) -> Tensor:
        gaps, G = _inverse_gaps(energies, occupied), _symmetric(direction)
        ctx.save_for_backward(G, gaps, occupied)
        return (gaps + gaps.mT) * G

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        G, g, occupied = ctx.saved_tensors
        Z = _symmetric(gradient)
        return _step_curvature(G, Z, g, occupied), (g + g.mT) * Z, None, None


class _LevelGradient(torch.autograd.Function):
    """(F, v) -> diag(v), the derivative of <v, eps(F)>; not differentiable again."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, weights: Tensor) -> Tensor:
        return torch.diag_embed(weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError(
            "second derivatives of orbital energies are not available (they divide by differences of occupied levels); "
            "use create_graph=True only on functions of the density matrix"
        )
