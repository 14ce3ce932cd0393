"""Representations of rotations and reflections on real spherical harmonics, as polynomials of the 3 x 3 matrix."""

from __future__ import annotations

from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor

__all__ = ["wigner_matrices"]


@lru_cache(maxsize=16)
def _stretched_coupling(l: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Project 1 x (l-1) on its stretched order l: (2l+1, 3 (2l-1)), orthonormal rows."""
    coupling: Tensor = o3.wigner_3j(1, l - 1, l, dtype=torch.float64) * (2 * l + 1) ** 0.5
    return coupling.permute(2, 0, 1).reshape(2 * l + 1, -1).to(dtype=dtype, device=device)


def wigner_matrices(rotation: Tensor, max_order: int) -> list[Tensor]:
    r"""Represent orthogonal matrices on spherical harmonics of order 0 to ``max_order``.

    Parameters
    ----------
    rotation : Tensor, (E, 3, 3)
        Orthogonal matrices in the axes of :func:`ase_mlwave.quantum.ao_order.to_e3nn`; reflections are welcome.
    max_order : int
        Largest l.

    Returns
    -------
    list of Tensor, (E, 2l+1, 2l+1)
        ``D[l]`` with :math:`Y_l(R u) = D_l Y_l(u)`.

    Notes
    -----
    :math:`D_l = Q (D_1 \otimes D_{l-1}) Q^T` with the stretched coupling :math:`1 \times (l-1) \to l`: no angles, so
    no poles where derivatives fail, and parity :math:`(-1)^l` of a reflection comes by itself.
    Law: ``test_wigner_matrices_rotate_harmonics``.
    """
    n = rotation.shape[0]
    matrices = [rotation.new_ones(n, 1, 1), rotation][: max_order + 1]
    for l in range(2, max_order + 1):
        q = _stretched_coupling(l, rotation.dtype, rotation.device)
        product = torch.einsum("eab,ecd->eacbd", rotation, matrices[-1]).reshape(n, 3 * (2 * l - 1), 3 * (2 * l - 1))
        matrices.append(q @ product @ q.T)
    return matrices
