r"""The one place that maps PySCF's atomic-orbital order to e3nn irreps and back.

e3nn's real harmonics have their polar axis along y: :math:`Y^{e3nn}_{lm}(x, y, z) = Y_{lm}(z, x, y)` in the usual
convention (polar axis z, m = -l..l). So when e3nn is given the coordinates :math:`(y, z, x)`, its order and signs are
the usual ones, which are also PySCF's for d and up; PySCF's p functions alone stand as x, y, z instead of y, z, x.
The whole map is therefore a permutation: one of coordinates and one of p functions, exact for every l.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.quantum.rotations import wigner_matrices

__all__ = ["coupling_basis", "couplings", "irreps_order", "rotate_aos", "to_e3nn"]

#: Cartesian x, y, z -> the order that e3nn is given: y, z, x.
_AXES = (1, 2, 0)


def to_e3nn(vectors: Tensor) -> Tensor:
    """Reorder Cartesian components x, y, z to those that make e3nn's harmonics the usual ones.

    Parameters
    ----------
    vectors : Tensor, (..., 3)
        Any unit.

    Returns
    -------
    Tensor, (..., 3)
        The components y, z, x.
    """
    return vectors.roll(-1, dims=-1)  # no list of indices, which would go to the device anew


def irreps_order(shells: Sequence[int]) -> NDArray[np.int64]:
    """Give the permutation from PySCF's AO order to irreps (m = -l..l in every shell).

    Parameters
    ----------
    shells : sequence of int
        ``l`` of every shell, in AO order; see :func:`ase_mlwave.quantum.basis.shells`.

    Returns
    -------
    ndarray, (M,)
        ``order`` such that ``H[order][:, order]`` transforms with e3nn's Wigner matrices of rotations expressed in
        the axes of :func:`to_e3nn`. ``numpy.argsort(order)`` is the way back.

    Notes
    -----
    Source: e3nn, change of basis of spherical harmonics; PySCF, ``gto.mole`` (spherical p are x, y, z).
    Law: ``test_hamiltonian_of_rotated_molecule``.
    """
    order: list[int] = []
    start = 0
    for l in shells:
        within = list(_AXES) if l == 1 else list(range(2 * l + 1))
        order += [start + m for m in within]
        start += 2 * l + 1
    return np.array(order, dtype=np.int64)


def rotate_aos(shells: Sequence[int], rotation: Tensor) -> Tensor:
    """Build the matrix that carries AO coefficients to a rotated (or mirrored) molecule.

    Parameters
    ----------
    shells : sequence of int
        ``l`` of every shell of the whole molecule.
    rotation : Tensor, (3, 3)
        Orthogonal, acting on x, y, z; determinant +1 or -1.

    Returns
    -------
    Tensor, (M, M)
        ``U`` in PySCF's order with ``H(rotated) = U H U^T``.

    Raises
    ------
    ValueError
        If ``rotation`` is not orthogonal.
    """
    rotation = rotation.double()
    if not torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-8):
        raise ValueError("rotation must be an orthogonal 3 x 3 matrix; got one with R R^T != 1")
    axes = list(_AXES)
    matrices = wigner_matrices(rotation[axes][:, axes][None], max(shells))
    matrix: Tensor = torch.block_diag(*(matrices[l][0] for l in shells))
    back = np.argsort(irreps_order(shells))
    return matrix[back][:, back]


def couplings(l1: int, l2: int) -> list[tuple[int, int]]:
    """List the coupled orders of two shells as (L, parity): parity is that of the product, (-1)^(l1+l2)."""
    return [(L, (-1) ** (l1 + l2)) for L in range(abs(l1 - l2), l1 + l2 + 1)]


@lru_cache(maxsize=64)
def coupling_basis(l1: int, l2: int) -> Tensor:
    """Give the orthogonal matrix from coupled coefficients x_L to a block H[m1, m2].

    Parameters
    ----------
    l1, l2 : int
        Angular momenta of the two shells.

    Returns
    -------
    Tensor, (D, 2 l1 + 1, 2 l2 + 1)
        float64; the D = (2 l1 + 1)(2 l2 + 1) coefficients stand by L, then M. Rows are orthonormal, so mean squares
        of coefficients and of matrix elements agree.

    Notes
    -----
    Source: Unke et al. 2021, matrix blocks: H[m1, m2] = sum_L sqrt(2L+1) sum_M w3j(l1 m1, l2 m2, L M) x_L[M].
    """
    parts = [
        (o3.wigner_3j(l1, l2, L, dtype=torch.float64) * (2 * L + 1) ** 0.5).permute(2, 0, 1)
        for L in range(abs(l1 - l2), l1 + l2 + 1)
    ]
    return torch.cat(parts)
