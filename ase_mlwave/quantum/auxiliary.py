"""Matrices of a local potential that is expanded in an auxiliary basis, V_pq = sum_P c_P (pq|P)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyscf import gto, lib
from torch import Tensor
from torch.autograd.function import once_differentiable

from ase_mlwave.quantum.integrals import mole_at

__all__ = ["monopoles", "potential_matrices", "three_centre_integrals"]

Array = NDArray[np.float64]
#: Bytes of three-centre integrals at a time.
_CHUNK = 2 * 10**8


def potential_matrices(
    positions: Tensor,
    molecules: Sequence[Sequence[int] | NDArray[Any]],
    basis: str,
    auxiliary: str,
    coefficients: Tensor,
) -> Tensor:
    """Compute the matrices of electrostatic potentials of charge densities sum_P c_P P(r).

    Parameters
    ----------
    positions : Tensor, (N, 3)
        Of all atoms, molecule by molecule, Bohr.
    molecules : sequence of sequence of int, (B,)
        Atomic numbers of each molecule.
    basis, auxiliary : str
        Names of the orbitals' and of the auxiliary basis.
    coefficients : Tensor, (sum of auxiliary functions,)
        c_P of each molecule's auxiliary functions in PySCF's order, the molecules' one behind the other, e.

    Returns
    -------
    Tensor, (sum M_b^2,)
        Hartree, float64, on the device of ``positions``, PySCF's AO order, one behind the other. Differentiable with
        respect to positions and coefficients, once.

    Raises
    ------
    ValueError
        If there are not as many coefficients as auxiliary functions.

    Notes
    -----
    Computed by PySCF on the CPU, whatever the device. Any local potential may be written so, and errors of c_P make
    no orbitals that are not there, as errors of single matrix elements do.
    Laws: ``test_potential_of_a_density_is_its_coulomb_matrix``, ``test_gradient_of_potential_matrices``.
    """
    sizes = [len(numbers) for numbers in molecules]
    on_host = positions.detach().to("cpu", torch.float64).numpy()
    moles = []
    for numbers, places in zip(molecules, np.split(on_host, np.cumsum(sizes)[:-1]), strict=True):
        given = tuple(np.asarray(numbers, dtype=np.int64).tolist())
        moles.append((mole_at(places, given, basis), mole_at(places, given, auxiliary)))
    expected = sum(auxiliary_mole.nao for _, auxiliary_mole in moles)
    if coefficients.shape != (expected,):
        raise ValueError(f"coefficients have shape {tuple(coefficients.shape)}; {auxiliary} has {expected} functions")
    values: Tensor = _Potential.apply(positions, coefficients, moles)  # type: ignore[no-untyped-call]
    return values


def monopoles(auxiliary: gto.Mole) -> Array:
    """Integrate auxiliary functions over space.

    Parameters
    ----------
    auxiliary : pyscf.gto.Mole
        A molecule in the auxiliary basis.

    Returns
    -------
    ndarray, (functions,)
        Charge of each function, e: zero but for l = 0.

    Notes
    -----
    Law: ``test_charges_of_functions_are_what_far_potentials_show``.
    """
    charges, starts = np.zeros(auxiliary.nao), auxiliary.ao_loc_nr()
    for shell in range(auxiliary.nbas):
        if auxiliary.bas_angular(shell) == 0:
            volumes = (np.pi / auxiliary.bas_exp(shell)) ** 1.5 / np.sqrt(4 * np.pi)
            charges[starts[shell] : starts[shell + 1]] = volumes @ auxiliary._libcint_ctr_coeff(shell)
    return charges


def three_centre_integrals(mole: gto.Mole, auxiliary: gto.Mole) -> Iterator[tuple[slice, Array]]:
    """Compute (pq|P) part by part.

    Parameters
    ----------
    mole, auxiliary : pyscf.gto.Mole
        The same atoms in the orbitals' and in the auxiliary basis.

    Yields
    ------
    functions : slice
        Auxiliary functions of the part.
    integrals : ndarray, (M (M + 1) / 2, functions)
        Hartree; lower triangles by rows.
    """
    yield from _parts(mole, auxiliary, "int3c2e", 1, "s2ij")


class _Potential(torch.autograd.Function):
    """(positions, coefficients) -> matrices of the potentials, one behind the other."""

    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, coefficients: Tensor, moles: Sequence[tuple[gto.Mole, gto.Mole]]
    ) -> Tensor:
        ctx.moles, ctx.kind = moles, (positions.dtype, positions.device, coefficients.dtype)
        c = coefficients.detach().to("cpu", torch.float64).numpy()
        ctx.coefficients = np.split(c, np.cumsum([auxiliary.nao for _, auxiliary in moles])[:-1])
        matrices = [_matrix(*pair, some).ravel() for pair, some in zip(moles, ctx.coefficients, strict=True)]
        return torch.from_numpy(np.concatenate(matrices)).to(positions.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        slopes, by_coefficient = [], []
        flat = incoming.cpu().double().numpy()
        ends = np.cumsum([mole.nao**2 for mole, _ in ctx.moles])
        for (mole, auxiliary), c, part in zip(ctx.moles, ctx.coefficients, np.split(flat, ends[:-1]), strict=True):
            weights = part.reshape(mole.nao, mole.nao)
            weights = 0.5 * (weights + weights.T)
            if ctx.needs_input_grad[0]:
                slopes.append(_slope(mole, auxiliary, c, weights))
            if ctx.needs_input_grad[1]:
                by_coefficient.append(_contracted(mole, auxiliary, weights))
        dtype, device, precision = ctx.kind
        return (
            torch.from_numpy(np.concatenate(slopes)).to(device, dtype) if slopes else None,
            torch.from_numpy(np.concatenate(by_coefficient)).to(device, precision) if by_coefficient else None,
            None,
        )


def _matrix(mole: gto.Mole, auxiliary: gto.Mole, coefficients: Array) -> Array:
    """Sum up c_P (pq|P), (M, M)."""
    triangle = np.zeros(mole.nao * (mole.nao + 1) // 2)
    for functions, integrals in three_centre_integrals(mole, auxiliary):
        triangle += integrals @ coefficients[functions]
    matrix: Array = lib.unpack_tril(triangle)
    return matrix


def _contracted(mole: gto.Mole, auxiliary: gto.Mole, weights: Array) -> Array:
    """Sum up G_pq (pq|P) for symmetric weights (M, M): one number for each auxiliary function."""
    triangle = lib.pack_tril(2 * weights - np.diag(weights.diagonal()))
    return np.concatenate([triangle @ integrals for _, integrals in three_centre_integrals(mole, auxiliary)])


def _slope(mole: gto.Mole, auxiliary: gto.Mole, coefficients: Array, weights: Array) -> Array:
    """Differentiate sum G_pq c_P (pq|P) with respect to positions, (N, 3), for symmetric weights (M, M)."""
    of_orbitals, of_auxiliary = np.zeros((3, mole.nao)), np.empty((3, auxiliary.nao))
    for functions, integrals in _parts(mole, auxiliary, "int3c2e_ip1", 3, "s1"):  # (3, M, M, functions)
        some = coefficients[functions]
        of_orbitals -= 2 * np.einsum("xpqk,pq,k->xp", integrals, weights, some, optimize=True)
        # Nothing changes where all three functions move.
        of_auxiliary[:, functions] = 2 * some * np.einsum("xpqk,pq->xk", integrals, weights, optimize=True)
    return _by_atom(mole, of_orbitals) + _by_atom(auxiliary, of_auxiliary)


def _by_atom(mole: gto.Mole, of_functions: Array) -> Array:
    """Sum up what belongs to the functions of each atom, (3, M) -> (N, 3)."""
    starts = mole.aoslice_by_atom()[:, 2]
    return np.add.reduceat(of_functions, starts, axis=1).T


def _parts(
    mole: gto.Mole, auxiliary: gto.Mole, operator: str, components: int, symmetry: str
) -> Iterator[tuple[slice, Array]]:
    """Integrate with some shells of the auxiliary basis after the other: (..., M, M or packed, functions)."""
    atm, bas, env = gto.conc_env(mole._atm, mole._bas, mole._env, auxiliary._atm, auxiliary._bas, auxiliary._env)
    name, places = mole._add_suffix(operator), auxiliary.ao_loc_nr()
    pairs = mole.nao**2 if symmetry == "s1" else mole.nao * (mole.nao + 1) // 2
    most = max(1, _CHUNK // (8 * components * pairs))
    first = 0
    while first < auxiliary.nbas:
        last = max(first + 1, int(np.searchsorted(places, places[first] + most, side="right")) - 1)
        span = (0, mole.nbas, 0, mole.nbas, mole.nbas + first, mole.nbas + last)
        yield (
            slice(places[first], places[last]),
            gto.moleintor.getints(name, atm, bas, env, span, components, aosym=symmetry),
        )
        first = last
