"""Representations of rotations and reflections on real spherical harmonics, as polynomials of the 3 x 3 matrix."""

from __future__ import annotations

from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor

__all__ = ["harmonics", "wigner_matrices"]


@lru_cache(maxsize=64)
def _stretched_coupling(l: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Project products of D_1 and D_(l-1), flat, on D_l, flat: (9 (2l-1)^2, (2l+1)^2)."""
    with torch.inference_mode(mode=False):  # kept for later calls, which may need gradients
        q: Tensor = o3.wigner_3j(1, l - 1, l, dtype=torch.float64) * (2 * l + 1) ** 0.5  # (3, 2l-1, 2l+1)
        coupling = torch.einsum("acm,bdn->abcdmn", q, q).reshape(9 * (2 * l - 1) ** 2, (2 * l + 1) ** 2)
        return coupling.to(dtype=dtype, device=device)


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
        products = rotation.reshape(n, 9, 1) * matrices[-1].flatten(1)[:, None]
        coupled = products.flatten(1) @ _stretched_coupling(l, rotation.dtype, rotation.device)
        matrices.append(coupled.view(n, 2 * l + 1, 2 * l + 1))
    return matrices


def harmonics(directions: Tensor, max_order: int) -> Tensor:
    r"""Evaluate real spherical harmonics of order 0 to ``max_order``, of norm 1 each.

    Parameters
    ----------
    directions : Tensor, (E, 3)
        Unit vectors in the axes of :func:`ase_mlwave.quantum.ao_order.to_e3nn`.
    max_order : int
        Largest l.

    Returns
    -------
    Tensor, (E, (max_order + 1)^2)
        Of :math:`D_l` of a rotation that carries the directions to the polar axis the rows m = 0.

    Notes
    -----
    Polynomials of the directions from the couplings of `wigner_matrices`. Law: ``test_harmonics_are_polar_rows``.
    """
    n = directions.shape[0]
    orders = [directions.new_ones(n, 1), directions][: max_order + 1]
    for l in range(2, max_order + 1):
        products = (directions[:, :, None] * orders[-1][:, None]).flatten(1)
        orders.append(products @ _next_order(l, directions.dtype, directions.device))
    return torch.cat(orders, dim=1)


@lru_cache(maxsize=64)
def _next_order(l: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Project products of Y_1 and Y_(l-1) on Y_l: (3 (2l-1), 2l+1)."""
    with torch.inference_mode(mode=False):  # kept for later calls, which may need gradients
        q: Tensor = o3.wigner_3j(1, l - 1, l, dtype=torch.float64)
        return (q / q[1, l - 1, l]).flatten(0, 1).to(dtype=dtype, device=device)  # 1 at the pole
