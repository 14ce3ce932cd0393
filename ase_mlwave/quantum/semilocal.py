"""Local and semilocal exchange-correlation energies, their potentials and gradients in one pass over the grid.

With orbitals psi_i = sum_mu C_mu,i phi_mu the energy on a grid is E = sum_g w_g e(rho_g, |grad rho_g|^2). Its
derivative with respect to nuclei needs no matrix of any kind: with P = 2 C C^T, and v_0, v_x, v_y, v_z the derivatives
of e with respect to rho and its gradient, times w_g,

    T_mu = sum_g d(phi_mu) [(P a)_mu + (v_0 / 2) (P phi)_mu] + sum_g sum_j d(d_j phi_mu) v_j (P phi)_mu,
    a = (v_0 / 2) phi + sum_j v_j d_j phi,

moves the functions against the points (d is the derivative with respect to electrons), and products with P are two of
C, which has few columns. PySCF's way, three matrices of this kind and their traces, takes several times as long for
molecules of 10 to 40 atoms; its numbers are the same (``test_semilocal_gradient_is_that_of_pyscf``).

The weights of Becke's scheme move, too. With P_B = prod_C s(nu_BC) of all pairs of atoms and w = v P_A / sum_B P_B for
points v of atom A,

    sum_g e_g dw_g = sum_g sum_B tau_B dlnP_B,    tau_B = e_g w_g (delta_AB - P_B / sum_C P_C),

where only the distances of points from nuclei and between nuclei change: a number a pair and point, and no vectors.
Source: Johnson, Gill, Pople, J. Chem. Phys. 98, 5612 (1993); Becke, J. Chem. Phys. 88, 2547 (1988).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import gto
from pyscf.dft import gen_grid, radi, rks

from ase_mlwave.quantum.gpu import is_on_gpu

__all__ = ["Semilocal", "semilocal_terms", "serves_semilocal"]

Array = NDArray[np.float64]

#: Points at a time: what belongs to them stays in the cache.
_BLOCK = 1120
#: Share of a point's weight that other atoms have, below which the weight does not change.
_NO_SHARE = 1e-14
_TINY = 1e-200
#: Where PySCF has the second derivatives xx, xy, xz; yx, yy, yz; zx, zy, zz.
_SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))


@dataclass(frozen=True)
class Semilocal:
    """What a functional gives at a density."""

    energy: float
    """Hartree."""
    potential: Array | None
    """Its derivative with respect to the density matrix, (M, M), Hartree; None if it was not asked for."""
    gradient: Array
    """Its derivative with respect to nuclei at fixed orbital coefficients, (N, 3), Hartree/Bohr: functions, points and
    weights move."""


def serves_semilocal(mean_field: Any) -> bool:
    """Tell whether `semilocal_terms` has a mean field's functional, on its grid.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Any.

    Returns
    -------
    bool
        True for restricted Kohn-Sham methods of PySCF itself, with functionals of the density and its gradient alone
        (no exact exchange, no non-local correlation) and Becke's weights.
    """
    if not isinstance(mean_field, rks.RKS) or is_on_gpu(mean_field) or mean_field.do_nlc():
        return False
    numint, grids = mean_field._numint, mean_field.grids
    return (
        numint._xc_type(mean_field.xc) in ("LDA", "GGA")
        and not numint.libxc.is_hybrid_xc(mean_field.xc)
        and getattr(grids, "becke_scheme", None) is gen_grid.original_becke
        and grids.radii_adjust in (None, radi.treutler_atomic_radii_adjust, radi.becke_atomic_radii_adjust)
    )


def semilocal_terms(
    mean_field: Any, orbitals: Array, *, relaxed: Array | None = None, potential: bool = False
) -> Semilocal:
    """Evaluate a functional, and differentiate it with respect to nuclei as it is computed on the grid.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        One that `serves_semilocal`.
    orbitals : ndarray, (M, n)
        Doubly occupied orbitals in columns.
    relaxed : ndarray, (M, n), optional
        Others, of a density P. All values are then those of the functional linearised at the density P_0 of
        ``orbitals``, E_xc[P_0] + tr[v_xc[P_0] (P - P_0)], and its potential is the derivative with respect to P_0,
        f_xc[P_0] (P - P_0).
    potential : bool
        Whether its part of the Fock matrix is wanted, too.

    Returns
    -------
    Semilocal
    """
    mole, grids, numint = mean_field.mol, mean_field.grids, mean_field._numint
    n_derivatives = 1 if numint._xc_type(mean_field.xc) == "LDA" else 2
    first, last = mole.aoslice_by_atom()[:, 2:].T
    energy, gradient = 0.0, np.zeros((mole.natm, 3))
    half = np.zeros((mole.nao, mole.nao)) if potential else None
    for atom, coordinates, volumes in _points(grids):
        weights = _Weights(grids, atom, coordinates, volumes)
        moved, exchange = np.zeros((mole.nao, 3)), np.empty(len(volumes))
        for start in range(0, len(volumes), _BLOCK):
            here = slice(start, start + _BLOCK)
            points = np.ascontiguousarray(coordinates[here])
            mask = gen_grid.make_mask(mole, points)
            values = numint.eval_ao(mole, points, deriv=n_derivatives, non0tab=mask, cutoff=grids.cutoff)
            values = values.transpose(0, 2, 1)  # (4 or 10, M, G)
            exchange[here] = _add_points(mean_field, values, orbitals, relaxed, weights.values[here], moved, half)
        energy += float(exchange @ weights.values)
        gradient -= 2 * np.array([moved[a:b].sum(axis=0) for a, b in zip(first, last, strict=True)])
        gradient[atom] += 2 * moved.sum(axis=0)
        gradient += weights.response(exchange)
    return Semilocal(energy, None if half is None else half + half.T, gradient)


def _points(grids: Any) -> Iterator[tuple[int, Array, Array]]:
    """Yield each atom's points (G, 3), Bohr, and their volumes before they are shared among atoms (G,)."""
    mole = grids.mol
    table = grids.gen_atomic_grids(mole, grids.atom_grid, grids.radi_method, grids.level, grids.prune)
    for atom, centre in enumerate(mole.atom_coords()):
        points, volumes = table[mole.atom_symbol(atom)]
        yield atom, points + centre, volumes


def _add_points(
    mean_field: Any,
    values: Array,
    orbitals: Array,
    relaxed: Array | None,
    weights: Array,
    moved: Array,
    half: Array | None,
) -> Array:
    """Add T of some points to ``moved`` (M, 3) and half of the potential to ``half`` (M, M).

    Returns e_g: energy per electron times density of the points (G,), Hartree/Bohr^3.
    """
    P_phi, rho = _density(values, orbitals)
    if relaxed is None:
        energy, v, _ = _functional(mean_field, rho, 1)
        v = weights * v
        exchange = energy * rho[0]
    else:
        energy, potential, kernel = _functional(mean_field, rho, 2)
        P_phi_relaxed, change = _density(values, relaxed)
        change -= rho
        exchange = energy * rho[0] + np.einsum("xg,xg->g", potential, change)
        _add_motion(values, relaxed, P_phi_relaxed, weights * potential, moved)
        v = weights * np.einsum("xyg,yg->xg", kernel, change)
    a = _add_motion(values, orbitals, P_phi, v, moved)
    if half is not None:
        half += values[0] @ a.T
    return np.asarray(exchange)


def _density(values: Array, orbitals: Array) -> tuple[Array, Array]:
    """Return P phi (M, G) and the density with what its functional takes of its gradient, (1 or 4, G)."""
    phi = values[0]
    P_phi = 2 * (orbitals @ (orbitals.T @ phi))
    rho = np.einsum("xmg,mg->xg", values[: 1 if len(values) == 4 else 4], P_phi)
    rho[1:] *= 2
    return P_phi, rho


def _functional(mean_field: Any, rho: Array, order: int) -> tuple[Array, Array, Any]:
    """Return energy per electron (G,) and derivatives by density and gradient, (n, G) and (n, n, G), to an order."""
    local = len(rho) == 1
    return mean_field._numint.eval_xc_eff(  # type: ignore[no-any-return]
        mean_field.xc, rho[0] if local else rho, order, xctype="LDA" if local else "GGA"
    )[:3]


def _add_motion(values: Array, orbitals: Array, P_phi: Array, v: Array, moved: Array) -> Array:
    """Add T for a potential v (n, G) and orbitals' density to ``moved``; return a (M, G)."""
    v = v * np.array([0.5, 1, 1, 1])[: len(v), None]
    bare = np.einsum("xmg,xg->mg", values[: len(v)], v)
    a = 2 * (orbitals @ (orbitals.T @ bare)) + v[0] * P_phi
    moved += np.einsum("xmg,mg->mx", values[1:4], a)
    for j in range(len(v) - 1):
        np.multiply(P_phi, v[j + 1], out=a)
        for x in range(3):
            moved[:, x] += np.einsum("mg,mg->m", values[_SECOND[x][j]], a)
    return np.asarray(bare)


class _Weights:
    """Weights of an atom's points in Becke's scheme, and their change with the nuclei.

    Parameters
    ----------
    grids : PySCF grids object
        The scheme's radii.
    atom : int
        Whose points.
    coordinates : ndarray, (G, 3)
        Bohr.
    volumes : ndarray, (G,)
        Of the atom's own quadrature.
    """

    def __init__(self, grids: Any, atom: int, coordinates: Array, volumes: Array) -> None:
        nuclei = grids.mol.atom_coords()
        self.atom, self.nuclei, self.coordinates = atom, nuclei, coordinates
        self.pairs = np.array(np.tril_indices(len(nuclei), -1)).T
        self.lengths = np.linalg.norm(nuclei[:, None] - nuclei, axis=-1)
        self.shifts = _shifts(grids)
        self.distances = np.linalg.norm(coordinates - nuclei[:, None], axis=-1) + _TINY  # (N, G)
        cells = np.ones((len(nuclei), len(volumes)))
        for b, c in self.pairs:
            nu = self._nu(b, c)[1]
            smooth = _smooth(nu)[0]
            cells[b] *= 0.5 * (1 - smooth)
            cells[c] *= 0.5 * (1 + smooth)
        self.shares = cells / cells.sum(axis=0)
        self.values = volumes * self.shares[atom]

    def _nu(self, b: int, c: int, points: Any = slice(None)) -> tuple[Array, Array]:
        """Return mu = (r_b - r_c) / R_bc and nu = mu + a (1 - mu^2) of a pair at some points."""
        mu = (self.distances[b, points] - self.distances[c, points]) / self.lengths[b, c]
        return mu, mu + self.shifts[b, c] * (1 - mu**2)

    def response(self, exchange: Array) -> Array:
        """Return sum_g e_g dw_g / dR, (N, 3), Hartree/Bohr."""
        atom, n_atoms = self.atom, len(self.nuclei)
        shared = np.flatnonzero(np.abs(1 - self.shares[atom]) > _NO_SHARE)
        tau = -self.shares[:, shared]
        tau[atom] += 1
        tau *= (exchange * self.values)[shared]
        pull, gradient = np.zeros_like(tau), np.zeros((n_atoms, 3))
        for b, c in self.pairs:
            mu, nu = self._nu(b, c, shared)
            smooth, slope = _smooth(nu)
            slope *= 1 - 2 * self.shifts[b, c] * mu
            k = slope * (tau[c] / (1 + smooth + _TINY) - tau[b] / (1 - smooth + _TINY)) / self.lengths[b, c]
            pull[b] += k
            pull[c] -= k
            along = (self.nuclei[b] - self.nuclei[c]) * (k @ mu / self.lengths[b, c])
            gradient[b] -= along
            gradient[c] += along
        for b in range(n_atoms):
            if b != atom:  # points keep their distance from their own atom
                vectors = self.coordinates[shared] - self.nuclei[b]
                push = (pull[b] / self.distances[b, shared]) @ vectors
                gradient[atom] += push
                gradient[b] -= push
        return gradient


def _shifts(grids: Any) -> Array:
    """Return a_BC, by which the border between two atoms is moved towards the smaller, (N, N)."""
    charges = np.array([gto.charge(grids.mol.atom_symbol(atom)) for atom in range(grids.mol.natm)])
    if grids.radii_adjust is None:
        return np.zeros((len(charges), len(charges)))
    radii = grids.atomic_radii[charges] + _TINY
    if grids.radii_adjust is radi.treutler_atomic_radii_adjust:
        radii = np.sqrt(radii)
    ratios = radii[:, None] / radii
    return np.asarray(np.clip(0.25 * (ratios.T - ratios), -0.5, 0.5))


def _smooth(nu: Array) -> tuple[Array, Array]:
    """Return Becke's step p(p(p(nu))) with p(x) = (3 x - x^3) / 2, and its derivative."""
    slope = 27 / 8 * (1 - nu**2)
    for last in (False, False, True):
        nu = 0.5 * nu * (3 - nu**2)
        if not last:
            slope *= 1 - nu**2
    return nu, slope
