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


def _linear(n_in: int, n_out: int, gain: float) -> nn.Linear:
    """Make a layer whose weights sum to the square of ``gain``, with offsets that spread the bends of SiLU."""
    layer = nn.Linear(n_in, n_out, dtype=torch.float64)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(n_in))
    nn.init.uniform_(layer.bias, -1.0, 1.0)
    return layer


class EnergyFunctional(nn.Module):
    """Map molecular orbitals at a point to an energy per electron.

    Parameters
    ----------
    dimension : int
        Number d of orbitals, and width of all layers but the last hidden one.
    n_layers : int
        Hidden layers.
    readout_width : int
        Width K of the last hidden layer: its values are the features that the readout weighs.
    n_elements : int
        Elements of the model; each has its own readout, used in the cells of its atoms.

    Notes
    -----
    f(psi, r) = sum_e w_e(r) sum_k v_ek h_k(psi), w_e the share of the cells of element e: within a cell, only the
    readout of its own element is needed. Differs from the paper, whose one readout serves everywhere: the shares tell
    elements apart where their orbitals look alike.
    The network sees psi / (rho + b)^(1/4), whose size varies less between core and tail than that of psi.
    The readout starts at zero: an untrained functional adds nothing to the atoms and the repulsion of their nuclei.
    """

    def __init__(self, dimension: int, n_layers: int, readout_width: int, n_elements: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dimension)
        sizes = [dimension] * n_layers + [readout_width]
        gains = [0.5] + [_GAIN] * (n_layers - 1)  # a smooth first layer: energies are of low order in psi
        self.layers = nn.ModuleList(_linear(a, b, g) for (a, b), g in zip(pairwise(sizes), gains, strict=True))
        self.readout = nn.Linear(readout_width, n_elements, bias=False, dtype=torch.float64)
        nn.init.zeros_(self.readout.weight)

    def features(self, psi: Tensor) -> Tensor:
        """Evaluate h(psi); psi (..., d) in Bohr^-3/2 -> (..., K)."""
        rho = psi.square().sum(-1, keepdim=True)
        x = psi * (self.scale * (rho + _DIM) ** -0.25)
        for layer in self.layers:
            x = nn.functional.silu(layer(x))
        return x

    def forward(self, psi: Tensor, element: Tensor) -> Tensor:
        """Evaluate f in cells; psi (C, P, d) in Bohr^-3/2, element (C,) -> (C, P), in the model's unit of energy."""
        readout: Tensor = self.readout.weight[element]
        return torch.matmul(self.features(psi), readout[..., None])[..., 0]


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
        self.layers = nn.ModuleList(nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes))
        self.last = nn.Linear(width, 1, dtype=torch.float64)

    def forward(self, rho: Tensor) -> Tensor:
        """Evaluate V(rho); rho in e/Bohr^3, V in the units of -sum_A Z_A exp(-|r - R_A|^2)."""
        x = 0.25 * torch.log(rho + _FAINT)[..., None]
        for layer in self.layers:
            x = nn.functional.silu(layer(x))
        return self.last(x)[..., 0]  # type: ignore[no-any-return]
