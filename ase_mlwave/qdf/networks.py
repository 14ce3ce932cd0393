"""The dense networks on every point: the energy functional and the Hohenberg-Kohn map; all activations are smooth."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["EnergyFunctional", "HohenbergKohnMap"]

#: Density below which the Hohenberg-Kohn map's input is flat, e/Bohr^3.
_FAINT = 1e-4


class EnergyFunctional(nn.Module):
    """Map molecular orbitals at a point to an energy per electron.

    Parameters
    ----------
    dimension : int
        Number d of orbitals, and width.
    n_layers : int
        Hidden layers.

    Notes
    -----
    The last layer starts at zero: an untrained model gives the sum of its atoms' references.
    """

    def __init__(self, dimension: int, n_layers: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dimension)
        self.layers = nn.ModuleList(nn.Linear(dimension, dimension, dtype=torch.float64) for _ in range(n_layers))
        self.last = nn.Linear(dimension, 1, dtype=torch.float64)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, psi: Tensor) -> Tensor:
        """Evaluate f(psi); psi (..., d) in Bohr^-3/2 -> (...), Hartree."""
        x = psi * self.scale
        for layer in self.layers:
            x = nn.functional.silu(layer(x))
        return self.last(x)[..., 0]  # type: ignore[no-any-return]


class HohenbergKohnMap(nn.Module):
    """Map the density at a point to the external potential there.

    Parameters
    ----------
    width, n_layers : int
        Of the dense network.

    Notes
    -----
    Differs from the paper: the network sees log(rho), which spreads the tail of the density.
    """

    def __init__(self, width: int, n_layers: int) -> None:
        super().__init__()
        sizes = [1] + [width] * n_layers
        self.layers = nn.ModuleList(
            nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes)
        )
        self.last = nn.Linear(width, 1, dtype=torch.float64)

    def forward(self, rho: Tensor) -> Tensor:
        """Evaluate V(rho); rho in e/Bohr^3, V in the units of -sum_A Z_A exp(-|r - R_A|^2)."""
        x = 0.25 * torch.log(rho + _FAINT)[..., None]
        for layer in self.layers:
            x = nn.functional.silu(layer(x))
        return self.last(x)[..., 0]  # type: ignore[no-any-return]
