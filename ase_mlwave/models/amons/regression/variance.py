"""Kernels of queries with the rows that are kept for variances, from the kernels that their energies take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ase_mlwave.models.amons.regression.environments import Block

__all__ = ["add_own_kernels", "add_row_kernels"]

#: Environments of an element that are compared with one another at a time, or those of one query.
_TOGETHER = 512


def add_row_kernels(
    out: Tensor, block: Block, n_molecules: int, kernel: Tensor, x: Tensor, system: Tensor, g: float
) -> None:
    """Add the kernels of the atoms of one element with all rows.

    Parameters
    ----------
    out : Tensor, (B, R)
        Is added to.
    block : Block
        The rows' environments of the element, P' of them.
    n_molecules : int
        Rows of molecules, which come first; those of directions follow.
    kernel : Tensor, (N, P)
        k with environments, the first ones of which are those of the rows.
    x : Tensor, (N, C)
        Environments of the queries, in the columns of the block.
    system : Tensor, (N,)
        Their queries.
    g : float
        1 / s^2 of the element's Gaussian.

    Notes
    -----
    The sum over elements is `ase_mlwave.models.amons.regression.kernel.kernel_matrix`, without waiting for a device
    (``test_kernels_of_queries_are_the_matrix``).
    """

    def add(values: Tensor, rows: Tensor) -> None:
        out.index_add_(1, rows, out.new_zeros(len(out), len(rows)).index_add_(0, system, values))

    kernel = kernel[:, : len(block.values)]
    add(kernel, block.molecules)
    if len(block.slopes):
        across = x @ block.slopes.T - block.products  # (x_I - x_J) . v_J
        add(g * kernel[:, block.slope_atoms] * across, n_molecules + block.slope_rows)


def add_own_kernels(out: Tensor, x: Tensor, system: Tensor, counts: Sequence[int], g: float) -> None:
    """Add the kernels of the atoms of one element with those of their own query.

    Parameters
    ----------
    out : Tensor, (B,)
        Is added to.
    x : Tensor, (N, D)
        Environments, query by query.
    system : Tensor, (N,)
        Their queries.
    counts : sequence of int, (B,)
        How many are of each query.
    g : float
        1 / s^2 of the element's Gaussian.
    """
    start = stop = 0
    for index, count in enumerate(counts):
        stop += count
        if index + 1 < len(counts) and stop - start + counts[index + 1] <= _TOGETHER:
            continue
        part, of = x[start:stop], system[start:stop]
        norms = part.square().sum(dim=1)
        squares = torch.addmm(norms, part, part.T, alpha=-2.0).add_(norms[:, None]).clamp_(min=0)
        kernel = torch.exp(squares * (-g / 2))
        out.index_add_(0, of, (kernel * (of[:, None] == of)).sum(dim=1))
        start = stop
