"""Second derivatives of energies by autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["second_derivatives"]


def second_derivatives(
    energy: Tensor, positions: Tensor, progress: Callable[[int], None] = lambda done: None
) -> NDArray[np.float64]:
    """Differentiate an energy twice, row by row.

    Parameters
    ----------
    energy : Tensor, ()
        A function of the positions, twice differentiable, with its graph.
    positions : Tensor, (N, 3)
        Requires gradients.
    progress : callable
        Called with 1 after every row.

    Returns
    -------
    ndarray, (3N, 3N)
        In units of the energy over the square of those of the positions, on the host.
    """
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(energy, positions, create_graph=True)
    rows = []
    for slope in slopes.reshape(-1):
        (row,) = torch.autograd.grad(slope, positions, retain_graph=True)
        rows.append(row.reshape(-1))
        progress(1)
    matrix: NDArray[np.float64] = torch.stack(rows).detach().cpu().double().numpy()
    return matrix
