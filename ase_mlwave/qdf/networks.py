"""The dense networks on every point: the energy functional and the Hohenberg-Kohn map; all activations are smooth."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["EnergyFunctional", "HohenbergKohnMap"]

#: Density below which the Hohenberg-Kohn map's input is flat, e/Bohr^3.
_FAINT = 1e-4
#: Density, e/Bohr^3, above which the functional sees psi / rho^(1/4), and below which psi.
_DIM = 1e-3
#: Of SiLU: 1 / root mean square of its values on normal numbers.
_GAIN = 1.68


def _linear(width: int) -> nn.Linear:
    """Make a layer that keeps the size of its input through a SiLU, with offsets that spread its bends."""
    layer = nn.Linear(width, width, dtype=torch.float64)
    nn.init.normal_(layer.weight, std=_GAIN / math.sqrt(width))
    nn.init.uniform_(layer.bias, -0.5, 0.5)
    return layer


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
    The network sees psi / (rho + b)^(1/4), whose size varies less between core and tail than that of psi.
    The last layer starts at zero: an untrained model gives the sum of its atoms' references.
    """

    def __init__(self, dimension: int, n_layers: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dimension)
        self.layers = nn.ModuleList(_linear(dimension) for _ in range(n_layers))
        self.last = nn.Linear(dimension, 1, dtype=torch.float64)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, psi: Tensor) -> Tensor:
        """Evaluate f(psi); psi (..., d) in Bohr^-3/2 -> (...), in the model's unit of energy."""
        rho = psi.square().sum(-1, keepdim=True)
        x = psi * (self.scale * (rho + _DIM) ** -0.25)
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
