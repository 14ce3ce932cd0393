"""One-electron integrals and their nuclear derivatives: overlap, kinetic energy, nuclear attraction, SAP potential.

Basis functions move with their atoms, and so do the charges that attract the electrons. For an operator O that does
not depend on the nuclei, with nabla acting on the electron's coordinate,

    dO_pq / dR_A = -(nabla p|O|q) [p on A] - (p|O|nabla q) [q on A],

and for a potential that sits on nucleus C, translation of the whole adds +(nabla p|v_C|q) + (p|v_C|nabla q) for A = C.

The SAP potential (superposition of atomic potentials) is the electrostatic potential of a spherical charge per
atom, a sum of s-type Gaussians with the total charge -Z; it screens the nucleus. T + V_ne + V_SAP is a cheap
approximation of the Kohn-Sham matrix. Source: Lehtola, Visscher and Engel 2020 (doi:10.1063/5.0004046); fits
``sapgrasplarge`` as PySCF ships them.

Smeared charges do the same crudely: nuclear attraction plus the repulsion by Gaussian charges of the same size is of
short range, which makes energy expressions size consistent.

Two programs evaluate them: `ase_mlwave.quantum.gaussians`, in batches and on any device, and PySCF, molecule by
molecule on the CPU, with derivative integrals contracted afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pyscf import gto, lib
from torch import Tensor

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.gaussians.batches import Batch, prepare
from ase_mlwave.quantum.gaussians.charges import SMEARING, PotentialName, charge_distribution
from ase_mlwave.quantum.gaussians.layout import Potentials
from ase_mlwave.quantum.gaussians.operators import matrices
from ase_mlwave.quantum.gaussians.primitives import check_all_electron

__all__ = [
    "IntegralProgram",
    "OneElectronIntegrals",
    "attach_derivatives",
    "batch_integrals",
    "coulomb_repulsion",
    "derivative_arrays",
    "integral_arrays",
    "joined_integrals",
    "mole_at",
    "nuclear_repulsion",
    "one_electron_integrals",
]

IntegralName = Literal["overlap", "kinetic", "nuclear", "sap", "smeared"]
#: Which program evaluates integrals: ours, on the device of the positions, or PySCF on the CPU.
IntegralProgram = Literal["torch", "pyscf"]


@dataclass(frozen=True)
class OneElectronIntegrals:
    """One-electron matrices of one molecule, Hartree, PySCF's AO order."""

    overlap: Tensor
    """S, (M, M), dimensionless."""
    kinetic: Tensor
    """T, (M, M)."""
    nuclear: Tensor
    """V_ne, (M, M), attraction by all nuclei."""
    sap: Tensor | None = None
    """V_SAP, (M, M), repulsion by all neutral atoms' electrons with their exchange; None if it was not asked for."""
    smeared: Tensor | None = None
    """Repulsion by a charge Z spread as a Gaussian of width ``SMEARING`` on every atom, sum_A Z_A erf(r / s) / r."""

    @property
    def core(self) -> Tensor:
        """Core Hamiltonian h = T + V_ne, (M, M)."""
        return self.kinetic + self.nuclear


def one_electron_integrals(
    positions: Tensor,
    numbers: Sequence[int] | NDArray[Any],
    basis: str,
    *,
    sap: bool = False,
    smeared: bool = False,
    integrals: IntegralProgram = "torch",
) -> OneElectronIntegrals:
    """Compute S, T, V_ne and V_SAP of one molecule; see `batch_integrals`.

    Parameters
    ----------
    positions : Tensor, (N, 3)
        Bohr.
    numbers : sequence of int, (N,)
        Atomic numbers.
    basis, sap, smeared, integrals
        As of `batch_integrals`.

    Returns
    -------
    OneElectronIntegrals
        float64, on the device of ``positions``.

    Raises
    ------
    ValueError
        As `batch_integrals`.
    """
    (result,) = batch_integrals(positions, [numbers], basis, sap=sap, smeared=smeared, integrals=integrals)
    return result


def batch_integrals(
    positions: Tensor,
    molecules: Sequence[Sequence[int] | NDArray[Any]],
    basis: str,
    *,
    sap: bool = False,
    smeared: bool = False,
    integrals: IntegralProgram = "torch",
) -> tuple[OneElectronIntegrals, ...]:
    """Compute S, T, V_ne and V_SAP as differentiable functions of the positions.

    Parameters
    ----------
    positions : Tensor, (N, 3)
        Of all atoms, molecule by molecule, Bohr. Any floating dtype and device.
    molecules : sequence of sequence of int, (B,)
        Atomic numbers of each molecule.
    basis : str
        Name of a spherical basis.
    sap : bool
        Also compute the superposition of atomic potentials.
    smeared : bool
        Also compute the repulsion by Gaussian charges.
    integrals : str
        ``"torch"``: all molecules together, on the device of the positions. ``"pyscf"``: one after the other, on the
        CPU.

    Returns
    -------
    tuple of OneElectronIntegrals, (B,)
        float64, on the device of ``positions``.

    Raises
    ------
    ValueError
        If shapes disagree, positions are not finite (on a GPU they are not looked at), or the basis of an element needs
        an effective core potential.

    Notes
    -----
    The derivative is itself differentiable with respect to the incoming gradient, as training on forces needs. Second
    derivatives with respect to positions are exact with ``"torch"``; with ``"pyscf"`` they are not implemented and come
    back as NaN, never as a wrong number (``test_second_position_derivative_of_pyscf_is_nan``).
    """
    requested = {"nuclear": True, "sap": sap, "smeared": smeared}
    names = [name for name in get_args(PotentialName) if requested[name]]
    values, sizes = joined_integrals(positions, molecules, basis, [(name,) for name in names], integrals=integrals)
    parts = values.split([m * m for m in sizes], 1)
    return tuple(
        OneElectronIntegrals(**dict(zip(["overlap", "kinetic", *names], part.view(-1, m, m).unbind(), strict=True)))
        for part, m in zip(parts, sizes, strict=True)
    )


def joined_integrals(
    positions: Tensor,
    molecules: Sequence[Sequence[int] | NDArray[Any]],
    basis: str,
    potentials: Sequence[Potentials] = (),
    *,
    integrals: IntegralProgram = "torch",
    second: bool = True,
    prepared: Batch | None = None,
) -> tuple[Tensor, tuple[int, ...]]:
    """Compute S, T and sums of potentials of a batch, the molecules' matrices one behind the other.

    Parameters
    ----------
    positions, molecules, basis, integrals
        As of `batch_integrals`.
    potentials : sequence of tuple of str, (V,)
        Which of ``"nuclear"``, ``"sap"`` and ``"smeared"`` to add up: a sum takes no longer than one of them.
    second : bool
        Allow second derivatives with respect to positions. Without them, which are NaN then, the gradient is
        differentiated with respect to the incoming one in half the time, as training on forces needs.
    prepared : Batch, optional
        From `ase_mlwave.quantum.gaussians.batches.stage` of these molecules and potentials, on their device.

    Returns
    -------
    matrices : Tensor, (2 + V, sum M_b^2)
        float64, on the device of ``positions``.
    sizes : tuple of int, (B,)
        M_b of each molecule.

    Raises
    ------
    ValueError
        As `batch_integrals`.
    """
    atoms = tuple(tuple(np.asarray(numbers, dtype=np.int64).tolist()) for numbers in molecules)
    _check(positions, atoms)
    if integrals == "torch":
        batch = prepared or prepare(atoms, basis, tuple(potentials), positions.device)
        return matrices(positions.double(), batch, second=second), batch.sizes
    on_host = positions.to(device="cpu", dtype=torch.float64).split([len(numbers) for numbers in atoms])
    parts = [_by_pyscf(r, numbers, basis, potentials) for r, numbers in zip(on_host, atoms, strict=True)]
    return torch.cat([part.flatten(1) for part in parts], 1).to(positions.device), tuple(p.shape[-1] for p in parts)


def integral_arrays(
    mole: gto.Mole, names: Sequence[IntegralName] = ("overlap", "kinetic", "nuclear")
) -> dict[IntegralName, NDArray[np.float64]]:
    """Compute one-electron matrices of a PySCF molecule.

    Parameters
    ----------
    mole : pyscf.gto.Mole
        Without effective core potentials.
    names : sequence of str
        Any of ``"overlap"``, ``"kinetic"``, ``"nuclear"``, ``"sap"``, ``"smeared"``.

    Returns
    -------
    dict of ndarray, (M, M)
        Hartree (the overlap is dimensionless).

    Raises
    ------
    ValueError
        If a name is unknown or the molecule has an effective core potential.
    """
    _check_names(mole, names)
    return {name: _values(mole, name) for name in names}


def derivative_arrays(
    mole: gto.Mole, names: Sequence[IntegralName] = ("overlap", "kinetic", "nuclear")
) -> dict[IntegralName, NDArray[np.float64]]:
    """Compute nuclear derivatives of one-electron matrices, for training sets to keep.

    Parameters
    ----------
    mole : pyscf.gto.Mole
        Without effective core potentials.
    names : sequence of str
        As in `integral_arrays`.

    Returns
    -------
    dict of ndarray, (N, 3, M, M)
        d matrix / d position, Hartree/Bohr (the overlap: 1/Bohr); `attach_derivatives` makes use of them.

    Raises
    ------
    ValueError
        As in `integral_arrays`.
    """
    _check_names(mole, names)
    return {name: _derivatives(mole, name) for name in names}


def attach_derivatives(positions: Tensor, values: Tensor, derivatives: Tensor) -> Tensor:
    """Give precomputed matrices their dependence on the positions.

    Parameters
    ----------
    positions : Tensor, (..., N, 3)
        The positions at which ``values`` and ``derivatives`` were computed.
    values : Tensor, (..., M, M)
        From `integral_arrays`.
    derivatives : Tensor, (..., N, 3, M, M)
        From `derivative_arrays`.

    Returns
    -------
    Tensor, (..., M, M)
        ``values``, whose gradient reaches ``positions``; differentiable as `one_electron_integrals` is.

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    expected = (*positions.shape, *values.shape[-2:])
    if derivatives.shape != expected or values.shape[:-2] != positions.shape[:-2]:
        raise ValueError(
            f"derivatives have shape {tuple(derivatives.shape)} and values {tuple(values.shape)}; positions of shape "
            f"{tuple(positions.shape)} need (..., N, 3, M, M) and (..., M, M)"
        )
    attached: Tensor = _Attached.apply(positions, values, derivatives)  # type: ignore[no-untyped-call]
    return attached


def nuclear_repulsion(positions: Tensor, numbers: Tensor, *, short_range: bool = False) -> Tensor:
    """Compute the Coulomb energy of the nuclei, sum_{i<j} Z_i Z_j / r_ij.

    Parameters
    ----------
    positions : Tensor, (..., N, 3)
        Bohr.
    numbers : Tensor, (..., N)
        Atomic numbers; 0 marks padding.
    short_range : bool
        Leave out what charges smeared to a width of ``SMEARING`` give: sum_{i<j} Z_i Z_j erfc(r_ij / s) / r_ij.

    Returns
    -------
    Tensor, (...)
        Hartree.

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    if positions.shape[-1:] != (3,) or numbers.shape != positions.shape[:-1]:
        raise ValueError(
            f"positions have shape {tuple(positions.shape)} and numbers {tuple(numbers.shape)}; "
            "give (..., N, 3) and (..., N)"
        )
    first, second = torch.triu_indices(numbers.shape[-1], numbers.shape[-1], 1, device=positions.device)
    charges = numbers[..., first].to(positions.dtype) * numbers[..., second].to(positions.dtype)
    squared = (positions[..., first, :] - positions[..., second, :]).square().sum(-1)
    squared = torch.where(charges > 0, squared, torch.ones_like(squared))
    return coulomb_repulsion(charges, squared, short_range=short_range).sum(-1)


def coulomb_repulsion(charges: Tensor, squared: Tensor, *, short_range: bool = False) -> Tensor:
    """Compute the Coulomb energy of pairs of nuclei, Z_i Z_j / r_ij.

    Parameters
    ----------
    charges, squared : Tensor, (...)
        Products Z_i Z_j, and squared distances, Bohr^2.
    short_range : bool
        As of `nuclear_repulsion`.

    Returns
    -------
    Tensor, (...)
        Hartree.
    """
    bare = charges * squared.rsqrt()
    return bare * torch.special.erfc(squared.sqrt() / SMEARING) if short_range else bare


class _Integral(torch.autograd.Function):
    """positions -> one matrix; the derivative integrals are evaluated only when a gradient arrives."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, mole: gto.Mole, name: IntegralName) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.mole, ctx.name = mole, name
        return torch.from_numpy(_values(mole, name))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (positions,) = ctx.saved_tensors
        derivatives = torch.from_numpy(_derivatives(ctx.mole, ctx.name))
        return _Contraction.apply(positions, gradient, derivatives), None, None  # type: ignore[no-untyped-call]


class _Attached(torch.autograd.Function):
    """(positions, values, derivatives) -> values."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, values: Tensor, derivatives: Tensor) -> Tensor:
        ctx.save_for_backward(positions, derivatives)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        positions, derivatives = ctx.saved_tensors
        return _Contraction.apply(positions, gradient, derivatives), gradient, None  # type: ignore[no-untyped-call]


class _Contraction(torch.autograd.Function):
    """(positions, G, dO/dR) -> sum_pq G_pq dO_pq/dR; linear in G, its own positions derivative is unknown (NaN)."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, gradient: Tensor, derivatives: Tensor) -> Tensor:
        ctx.save_for_backward(positions, derivatives)
        return torch.einsum("...axpq,...pq->...ax", derivatives, gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        positions, derivatives = ctx.saved_tensors
        of_gradient = torch.einsum("...axpq,...ax->...pq", derivatives, gradient)
        return torch.full_like(positions, torch.nan), of_gradient, None


def _values(mole: gto.Mole, name: IntegralName) -> NDArray[np.float64]:
    if name in ("sap", "smeared"):
        packed = _three_centre(mole, name, "int3c2e", 1, "s2ij").sum(-1)
        full: NDArray[np.float64] = lib.unpack_tril(packed)
        return full
    operator = {"overlap": "int1e_ovlp", "kinetic": "int1e_kin", "nuclear": "int1e_nuc"}[name]
    return np.ascontiguousarray(mole.intor_symmetric(operator))


def _derivatives(mole: gto.Mole, name: IntegralName) -> NDArray[np.float64]:
    """Return dO/dR, (N, 3, M, M); see the module's docstring for the two terms."""
    total = np.zeros((mole.natm, 3, mole.nao, mole.nao))
    if name == "nuclear":
        bra = mole.intor("int1e_ipnuc", comp=3)
        for atom, charge in enumerate(mole.atom_charges()):
            with mole.with_rinv_at_nucleus(atom):
                total[atom] -= charge * mole.intor("int1e_iprinv", comp=3)
    elif name in ("sap", "smeared"):
        per_atom = _three_centre(mole, name, "int3c2e_ip1", 3, "s1")
        bra = per_atom.sum(-1)
        total += per_atom.transpose(3, 0, 1, 2)
    else:
        bra = mole.intor({"overlap": "int1e_ipovlp", "kinetic": "int1e_ipkin"}[name], comp=3)
    for atom, (_, _, start, stop) in enumerate(mole.aoslice_by_atom()):
        total[atom, :, start:stop] -= bra[:, start:stop]
    symmetric: NDArray[np.float64] = total + total.swapaxes(-1, -2)
    return symmetric


def _three_centre(
    mole: gto.Mole, kind: PotentialName, operator: str, components: int, symmetry: str
) -> NDArray[np.float64]:
    """Integrate pairs of basis functions with the screening charge of every atom: (..., M, M or packed, N)."""
    charges = _screening_charges(mole, kind)
    atm, bas, env = gto.conc_env(mole._atm, mole._bas, mole._env, charges._atm, charges._bas, charges._env)
    span = (0, mole.nbas, 0, mole.nbas, mole.nbas, mole.nbas + charges.nbas)
    name = mole._add_suffix(operator)
    result: NDArray[np.float64] = gto.moleintor.getints(name, atm, bas, env, span, components, aosym=symmetry)
    return result


def _screening_charges(mole: gto.Mole, kind: PotentialName) -> gto.Mole:
    """Place one s-type charge distribution on every atom: that of the SAP fit, or one Gaussian."""
    single = []
    for number, position in zip(mole.atom_charges(), mole.atom_coords(), strict=True):
        widths, strengths = charge_distribution(kind, int(number))
        single.append(gto.fakemol_for_cgtf_charge(position[None], 1 / widths, strengths))
    charges = single[0]
    for other in single[1:]:
        atm, bas, env = gto.conc_env(charges._atm, charges._bas, charges._env, other._atm, other._bas, other._env)
        charges._atm, charges._bas, charges._env = atm, bas, env
    return charges


@lru_cache(maxsize=64)
def _template(numbers: tuple[int, ...], basis: str) -> gto.Mole:
    for number in sorted(set(numbers)):
        check_all_electron(basis, number)
    return build_mole(numbers, np.zeros((len(numbers), 3)), basis, spin=sum(numbers) % 2)


def mole_at(positions: NDArray[np.float64], numbers: tuple[int, ...], basis: str) -> gto.Mole:
    """Move a kept molecule of the same atoms: a hundred times faster than building one."""
    mole: gto.Mole = _template(numbers, basis).set_geom_(positions, unit="Bohr", inplace=False)
    return mole


def _by_pyscf(positions: Tensor, numbers: tuple[int, ...], basis: str, potentials: Sequence[Potentials]) -> Tensor:
    """Evaluate the matrices of one molecule, (2 + V, M, M)."""
    mole = mole_at(positions.detach().numpy(), numbers, basis)
    operators = [("overlap",), ("kinetic",), *potentials]
    found: dict[str, Tensor] = {
        name: _Integral.apply(positions, mole, name)  # type: ignore[no-untyped-call]
        for name in {name for together in operators for name in together}
    }
    return torch.stack([torch.stack([found[name] for name in together]).sum(0) for together in operators])


def _check(positions: Tensor, molecules: Sequence[tuple[int, ...]]) -> None:
    n_atoms = sum(map(len, molecules))
    if positions.shape != (n_atoms, 3) or not all(molecules):
        raise ValueError(
            f"positions have shape {tuple(positions.shape)} for {n_atoms} atomic numbers; give (N, 3), N > 0"
        )
    if positions.device.type == "cpu" and not bool(torch.isfinite(positions).all()):
        raise ValueError("positions have NaN or infinite components; give finite numbers in Bohr")


def _check_names(mole: gto.Mole, names: Sequence[str]) -> None:
    known = get_args(IntegralName)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown one-electron integrals {unknown}; there are {', '.join(known)}")
    if mole.has_ecp():
        raise ValueError("the molecule has an effective core potential; only all-electron molecules are implemented")
