"""A basis of environments, in which a kernel regression is expanded: the ones that explain the others best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ase_mlwave.models.amons.regression.environments import Block, Environments
from ase_mlwave.models.amons.regression.kernel import squared_distances

__all__ = ["basis_factor", "choose_basis", "in_half_precision", "leading"]

#: Share of an environment's prior variance that a basis may leave unexplained before it is complete.
_COMPLETE = 1e-10
#: Added to the diagonal of K_MM, whose largest element is 1.
_JITTER = 1e-11


def choose_basis(training: Environments, widths: Mapping[int, float], size: int) -> Environments:
    """Choose the environments that explain the others best.

    Parameters
    ----------
    training : Environments
        All environments, without directions.
    widths : mapping of int to float
        Atomic number -> width of the kernel.
    size : int
        Largest number of basis environments of an element.

    Returns
    -------
    Environments
        Every basis environment is a molecule of its own.

    Notes
    -----
    A Cholesky factorisation with pivots, which always takes what those taken already explain least
    (``test_basis_explains_all_environments``). In this order, so that the first ones are a smaller basis.
    """
    blocks, first = {}, 0
    for z, block in training.blocks.items():
        chosen = _pivots(block, widths[z], size)
        blocks[z] = replace(
            block,
            values=block.values[chosen],
            norms=block.norms[chosen],
            molecules=torch.arange(first, first + len(chosen), device=block.values.device),
        )
        first += len(chosen)
    return Environments(blocks, first, 0)


def in_half_precision(basis: Environments) -> Environments:
    """Round a basis to half precision, in which models keep it: points near the data are as good a basis.

    Parameters
    ----------
    basis : Environments
        From `choose_basis`.

    Returns
    -------
    Environments
    """
    blocks = {}
    for z, block in basis.blocks.items():
        values = block.values.half().double()
        blocks[z] = replace(block, values=values, norms=values.square().sum(dim=1))
    return replace(basis, blocks=blocks)


def leading(basis: Environments, size: int) -> tuple[Environments, Tensor]:
    """Take the first environments of each element.

    Parameters
    ----------
    basis : Environments
        From `choose_basis`.
    size : int
        How many of each element, at most.

    Returns
    -------
    smaller : Environments
        A basis.
    places : Tensor, (M',)
        Where its rows are among those of the larger one.
    """
    blocks, places, first = {}, [], 0
    for z, block in basis.blocks.items():
        n = min(size, len(block.values))
        places.append(block.molecules[:n])
        rows = torch.arange(first, first + n, device=block.values.device)
        blocks[z] = replace(block, values=block.values[:n], norms=block.norms[:n], molecules=rows)
        first += n
    return Environments(blocks, first, 0), torch.cat(places)


def basis_factor(basis: Environments, widths: Mapping[int, float]) -> Tensor:
    """Return the lower Cholesky factor of K_MM, (M, M)."""
    device = next(iter(basis.blocks.values())).values.device
    factor = torch.zeros(basis.n_molecules, basis.n_molecules, dtype=torch.float64, device=device)
    for z, block in basis.blocks.items():
        kernel = torch.exp(-0.5 * squared_distances(block, block) / widths[z] ** 2)
        kernel = (kernel + kernel.T) / 2
        kernel.diagonal().fill_(1.0 + _JITTER)
        where = slice(int(block.molecules[0]), int(block.molecules[-1]) + 1)
        factor[where, where] = torch.linalg.cholesky(kernel)
    return factor


def _pivots(block: Block, width: float, size: int) -> Tensor:
    """Choose environments by a Cholesky factorisation with pivots; the most telling ones first."""
    n = len(block.values)
    unexplained = block.values.new_ones(n)  # variance that is not explained
    columns = block.values.new_zeros(min(size, n), n)
    pivots: list[int] = []
    for rank in range(min(size, n)):
        best = int(unexplained.argmax())
        if float(unexplained[best]) < _COMPLETE:
            break
        squares = block.norms + block.norms[best] - 2 * (block.values @ block.values[best])
        column = torch.exp(-0.5 * squares.clamp(min=0) / width**2) - columns[:rank].T @ columns[:rank, best]
        columns[rank] = column / unexplained[best].sqrt()
        unexplained = (unexplained - columns[rank].square()).clamp_(min=0)
        unexplained[best] = 0.0
        pivots.append(best)
    return torch.tensor(pivots, device=block.values.device)
