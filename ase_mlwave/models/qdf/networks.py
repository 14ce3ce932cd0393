"""The dense networks on every point: the energy functional and the Hohenberg-Kohn map; all activations are smooth."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ase_mlwave.models.qdf.field import ScaledField
from ase_mlwave.models.qdf.rows import eagerly

__all__ = ["EnergyFunctional", "GradientInvariants", "HohenbergKohnMap"]

#: Weights and offsets of dense layers.
_Layers = list[tuple[Tensor, Tensor]]

#: Points that go through the functional together on a CPU: what they need stays in its cache.
_TILE = 320

#: Density below which the Hohenberg-Kohn map's input is flat, e/Bohr^3.
_FAINT = 1e-4
#: Density, e/Bohr^3, above which the functional sees psi / rho^(1/4), and below which psi.
_DIM = 1e-3
#: Weight of the gradients' invariants beside that of the orbitals at the start: they vary more from point to point.
_STEEP = 0.25
#: Of SiLU: 1 / root mean square of its values on normal numbers.
_GAIN = 1.68


def _linear(n_in: int, n_out: int, gain: float) -> nn.Linear:
    """Make a layer whose weights sum to the square of ``gain``, with offsets that spread the bends of SiLU."""
    layer = nn.Linear(n_in, n_out, dtype=torch.float64)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(n_in))
    nn.init.uniform_(layer.bias, -1.0, 1.0)
    return layer


class GradientInvariants(nn.Module):
    """Contract the gradients of molecular orbitals at a point to numbers that no rotation changes.

    Parameters
    ----------
    dimension : int
        Number d of orbitals.
    count : int
        Number R of invariants.

    Notes
    -----
    q_k = (sum_n u_nk grad psi_n) . (sum_n v_nk grad psi_n): R of the d (d + 1) / 2 products of two gradients, mixed.
    The kinetic energy density, half the sum of |grad psi_n|^2, is a sum of such. The gradients of neighbours' orbitals
    add as vectors, so that q_k knows the angles between neighbours, which no density at one point does.
    """

    def __init__(self, dimension: int, count: int) -> None:
        super().__init__()
        self.left, self.right = (nn.Parameter(torch.randn(dimension, count, dtype=torch.float64)) for _ in range(2))

    def forward(self, gradients: Tensor, mixing: Tensor) -> Tensor:
        """Evaluate q, (R, G), e/Bohr^5.

        Parameters
        ----------
        gradients : Tensor, (M, 3, G)
            Of what the orbitals are made of, Bohr^-5/2.
        mixing : Tensor, (M, d)
            The orbitals' coefficients.
        """
        flat = gradients.flatten(1)
        left, right = (((mixing @ side).T @ flat).unflatten(1, (3, -1)) for side in (self.left, self.right))
        products: Tensor = left * right
        return products.sum(1)


class EnergyFunctional(nn.Module):
    """Map molecular orbitals, and invariants of their gradients, at a point to an energy per electron.

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
    n_gradients : int
        Number R of invariants of the gradients; 0 for a local functional.

    Notes
    -----
    f(psi, q, r) = sum_e w_e(r) sum_k v_ek h_k(psi, q), w_e the share of the cells of element e: within a cell, only the
    readout of its own element is needed. Differs from the paper, whose one readout serves everywhere: the shares tell
    elements apart where their orbitals look alike.
    The network sees psi / (rho + b)^(1/4), whose size varies less between core and tail than that of psi, and
    q / (rho + b).
    The readout starts at zero: an untrained functional adds nothing to the atoms and the repulsion of their nuclei.
    """

    def __init__(self, dimension: int, n_layers: int, readout_width: int, n_elements: int, n_gradients: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dimension)
        sizes = [dimension] * n_layers + [readout_width]
        gains = [0.5] + [_GAIN] * (n_layers - 1)  # a smooth first layer: energies are of low order in psi
        self.layers = nn.ModuleList(_linear(a, b, g) for (a, b), g in zip(pairwise(sizes), gains, strict=True))
        self.of_gradients: nn.Parameter | None = None
        if n_gradients:
            weights = torch.randn(sizes[1], n_gradients, dtype=torch.float64)
            self.of_gradients = nn.Parameter(weights * (_STEEP * gains[0] / math.sqrt(n_gradients)))
        self.readout = nn.Linear(readout_width, n_elements, bias=False, dtype=torch.float64)
        nn.init.zeros_(self.readout.weight)

    def integrals(self, field: ScaledField, mixing: Tensor) -> Tensor:
        """Integrate g(rho) h(psi, q) over cells, with psi_n = sum_m basis_m mixing_mn.

        Parameters
        ----------
        field : ScaledField
            What the orbitals are made of, their density and the invariants of their gradients.
        mixing : Tensor, (M, d)
            Their coefficients; they are multiplied into the first layer, which then needs no psi.

        Returns
        -------
        Tensor, (C, K)
            Hartree, float64.
        """
        x, layers, inplace = self._input(field), self._folded(mixing), not torch.is_grad_enabled()
        tiles = max(1, _TILE // x.shape[2]) if inplace and x.device.type == "cpu" else x.shape[1]
        parts = zip(x.split(tiles, 1), field.measure.split(tiles), strict=True)
        found = [
            torch.bmm(_features(part, layers, inplace=inplace).transpose(0, 1), measure[..., None])
            for part, measure in parts
        ]
        return torch.cat(found)[..., 0].double()

    def forward(self, field: ScaledField, mixing: Tensor, element: Tensor) -> Tensor:
        """Evaluate f in cells of elements (C,); others as for `features`; (C, P), in the model's unit of energy.

        Notes
        -----
        Where no weight is learned, tile by tile, which stay in the cache, and with the derivative at once.
        """
        x, layers, readout = self._input(field), self._folded(mixing), self.readout.weight[element]
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (mixing, *self.parameters())):
            return _weighed(_features(x, layers), readout)
        tiles = max(1, _TILE // x.shape[2]) if x.device.type == "cpu" else len(readout)
        if torch.is_grad_enabled() and x.requires_grad:
            return eagerly(
                lambda x: _weighed(_features(x, layers), readout),
                x,
                by_hand=lambda x: _values_and_slopes(x, layers, readout, tiles),
            )
        parts = zip(x.split(tiles, 1), readout.split(tiles), strict=True)
        return torch.cat([_weighed(_features(part, layers, inplace=True), weights) for part, weights in parts])

    def _input(self, field: ScaledField) -> Tensor:
        """Scale the basis and the invariants as the network sees them, (M + R, C, P)."""
        density = field.rho + _DIM
        basis = field.basis * (self.scale * density**-0.25)
        return basis if field.invariants is None else torch.cat([basis, field.invariants / density])

    def _folded(self, mixing: Tensor) -> _Layers:
        """Give weights and offsets of the layers, the first one's for `_input`: the basis instead of psi, and q."""
        layers = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        first = layers[0].weight @ mixing.T
        if self.of_gradients is not None:
            first = torch.cat([first, self.of_gradients], 1)
        weights = [first, *(layer.weight for layer in layers[1:])]
        return [(weight, layer.bias[:, None]) for weight, layer in zip(weights, layers, strict=True)]


def _features(x: Tensor, layers: _Layers, *, inplace: bool = False) -> Tensor:
    """Evaluate dense layers, (M, C, P) -> (K, C, P)."""
    h: Tensor = x.flatten(1)
    for weight, bias in layers:
        h = weight @ h
        h = nn.functional.silu(h.add_(bias) if inplace else h + bias, inplace=inplace)
    features: Tensor = h.unflatten(1, x.shape[1:])
    return features


def _weighed(features: Tensor, readout: Tensor) -> Tensor:
    """Weigh features (K, C, P) by readouts (C, K): (C, P)."""
    return torch.bmm(readout[:, None], features.transpose(0, 1))[:, 0]


def _values_and_slopes(x: Tensor, layers: _Layers, readout: Tensor, tiles: int) -> tuple[Tensor, Tensor]:
    """Evaluate f (C, P), and its derivative with respect to x, (M, C, P)."""
    parts = [_tile(*rows, layers) for rows in zip(x.split(tiles, 1), readout.split(tiles), strict=True)]
    return torch.cat([value for value, _ in parts]), torch.cat([slope for _, slope in parts], 1)


def _tile(x: Tensor, readout: Tensor, layers: _Layers) -> tuple[Tensor, Tensor]:
    """Go forward and back through the layers, in place: f = z s and df/dz = f + s - f s with the sigmoid s of z."""
    h, passed = x.flatten(1), []
    for weight, bias in layers:
        z = (weight @ h).add_(bias)
        s = torch.sigmoid(z)
        h = z.mul_(s)
        passed.append((h, s, weight))
    values = _weighed(h.unflatten(1, x.shape[1:]), readout)
    slope = readout.T[..., None]  # (K, C, 1)
    for h, s, weight in reversed(passed):
        inner = h.addcmul_(h, s, value=-1).add_(s).unflatten(1, x.shape[1:]).mul_(slope)
        slope = (weight.T @ inner.flatten(1)).unflatten(1, x.shape[1:])
    return values, slope


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
