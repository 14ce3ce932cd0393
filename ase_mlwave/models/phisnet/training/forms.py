"""What a learned potential is trained on: quadratic forms of its coefficients instead of matrices, and the best ones.

The learned part of H is linear in the coefficients c of an auxiliary basis, and so is what an error of H does to the
orbitals to first order. Mean squares are then quadratic forms of c less fitted coefficients c*, followed by a 1 for
what no coefficients can give:

    mean of (H - H_ref)^2 = (c - c*, 1) Q (c - c*, 1)^T,

which takes (n + 1)^2 numbers a molecule where three-centre integrals take n M^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyscf import gto, lib
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from ase_mlwave.quantum.auxiliary import monopoles, three_centre_integrals

__all__ = ["FORMS", "PotentialForms", "potential_forms"]

Array = NDArray[np.float64]
#: Names of what `potential_forms` gives.
FORMS = ("potential", "form_hamiltonian", "form_density", "form_occupied")
#: Share of the functions' own effects that is added to them in fits, so that almost dependent ones stay small.
_RIDGE = 1e-7
#: Auxiliary functions whose matrices are transformed at a time.
_CHUNK = 64
#: Least mean square of a loss term, where its root still has a slope.
_TINY = 1e-20


def potential_forms(
    mole: gto.Mole, auxiliary: gto.Mole, residual: Array, orbitals: Array, levels: Array
) -> dict[str, NDArray[Any]]:
    """Fit a neutral potential to a residual of H, and tell what becomes of errors of its coefficients.

    Parameters
    ----------
    mole, auxiliary : pyscf.gto.Mole
        The same atoms in the orbitals' and in the auxiliary basis; closed shells.
    residual : ndarray, (M, M)
        Reference H less baseline, Hartree.
    orbitals, levels : ndarray, (M, M) and (M,)
        Of the reference.

    Returns
    -------
    dict of str to ndarray
        ``"potential"`` (n, 1): c*, e. ``"form_hamiltonian"`` (n + 1, n + 1), float32: mean squares of errors of H,
        Hartree^2. ``"form_density"``: of errors between occupied and virtual orbitals, divided by gaps.
        ``"form_occupied"`` (O, n + 1): errors of the occupied orbitals' energies, Hartree.
    """
    n_occupied = mole.nelectron // 2
    rows, columns = np.tril_indices(mole.nao)
    weights = np.where(rows == columns, 1.0, 2.0) / mole.nao**2
    integrals = np.concatenate([part for _, part in three_centre_integrals(mole, auxiliary)], 1)
    target = residual[rows, columns]
    products = integrals.T @ (integrals * weights[:, None])
    fitted = _neutral_fit(products, integrals.T @ (weights * target), monopoles(auxiliary))
    occupied, virtual = orbitals[:, :n_occupied], orbitals[:, n_occupied:]
    gaps = levels[None, n_occupied:] - levels[:n_occupied, None]
    # What no coefficients give comes last, as if it were one more function.
    effects = np.concatenate([integrals, (integrals @ fitted - target)[:, None]], 1)
    mixing, shifts = [], []
    for start in range(0, effects.shape[1], _CHUNK):
        matrices = lib.unpack_tril(np.ascontiguousarray(effects[:, start : start + _CHUNK].T))
        half = occupied.T @ matrices
        shifts.append(np.einsum("koa,ao->ko", half, occupied))
        mixing.append(((half @ virtual) / gaps).reshape(len(half), -1).astype(np.float32))
    mixed = np.concatenate(mixing)
    return {
        "potential": fitted[:, None],
        "form_hamiltonian": (effects.T @ (effects * weights[:, None])).astype(np.float32),
        "form_density": mixed @ mixed.T / mixed.shape[1],
        "form_occupied": np.concatenate(shifts).T.astype(np.float32),
    }


def _neutral_fit(products: Array, targets: Array, charges: Array) -> Array:
    """Solve products @ c = targets (n,) for coefficients whose charges (n,) sum up to nothing."""
    sizes = np.sqrt(products.diagonal())
    factor = cho_factor(products / sizes / sizes[:, None] + _RIDGE * np.eye(len(sizes)))
    free, charge = cho_solve(factor, targets / sizes), cho_solve(factor, charges / sizes)
    fitted: Array = (free - charge * ((charges / sizes) @ free) / ((charges / sizes) @ charge)) / sizes
    return fitted


@dataclass(frozen=True)
class PotentialForms:
    """The forms of a batch, padded to the largest molecule.

    Parameters
    ----------
    coefficients : Tensor, (sum n_b,)
        c* of each molecule.
    places : Tensor, (sum n_b,)
        Where these stand in (B, n + 1), flat.
    constant : Tensor, (B, n + 1)
        1 in the last column, 0 elsewhere.
    hamiltonian, density : Tensor, (B, n + 1, n + 1)
        As of `potential_forms`.
    occupied : Tensor, (B, O, n + 1)
        As of `potential_forms`.
    n_occupied : int
        Occupied orbitals of all molecules.
    """

    coefficients: Tensor
    places: Tensor
    constant: Tensor
    hamiltonian: Tensor
    density: Tensor
    occupied: Tensor
    n_occupied: int

    @classmethod
    def of(cls, matrices: Sequence[Any]) -> PotentialForms:
        """Join the arrays of some molecules, as tensors by their names."""
        sizes, orbitals = [len(m["potential"]) for m in matrices], [len(m["form_occupied"]) for m in matrices]
        b, n = len(sizes), max(sizes) + 1
        constant = torch.zeros(b, n)
        constant[:, -1] = 1
        forms = {name: torch.zeros(b, n, n) for name in ("form_hamiltonian", "form_density")}
        occupied = torch.zeros(b, max(orbitals), n)
        for i, (one, size, count) in enumerate(zip(matrices, sizes, orbitals, strict=True)):
            for name, joined in forms.items():
                joined[i, :size, :size] = one[name][:-1, :-1]
                joined[i, :size, -1] = joined[i, -1, :size] = one[name][:-1, -1]
                joined[i, -1, -1] = one[name][-1, -1]
            occupied[i, :count, :size] = one["form_occupied"][:, :-1]
            occupied[i, :count, -1] = one["form_occupied"][:, -1]
        places = torch.cat([i * n + torch.arange(size) for i, size in enumerate(sizes)])
        coefficients = torch.cat([one["potential"][:, 0] for one in matrices])
        return cls(
            coefficients, places, constant, forms["form_hamiltonian"], forms["form_density"], occupied, sum(orbitals)
        )

    def terms(self, predicted: Tensor) -> dict[str, Tensor]:
        """Evaluate loss terms of coefficients (sum n_b,).

        Returns
        -------
        dict of str to Tensor
            ``"hamiltonian"``: root mean square error of H, Hartree; ``"density"``: of the density in the basis of the
            true orbitals, to first order; both the mean over molecules. ``"occupied"``: mean absolute first-order error
            of occupied orbitals' energies, Hartree.
        """
        errors = (predicted - self.coefficients).float()
        vectors = self.constant.flatten().index_add(0, self.places, errors).view_as(self.constant)
        return {
            "hamiltonian": _root_mean_square(self.hamiltonian, vectors),
            "density": _root_mean_square(self.density, vectors),
            "occupied": torch.bmm(self.occupied, vectors[:, :, None]).abs().sum() / self.n_occupied,
        }


def _root_mean_square(forms: Tensor, vectors: Tensor) -> Tensor:
    """Take the mean of the roots of quadratic forms (B, n, n) of vectors (B, n)."""
    squares = (torch.bmm(forms, vectors[:, :, None])[:, :, 0] * vectors).sum(1)
    return squares.clamp(min=_TINY).sqrt().mean()
