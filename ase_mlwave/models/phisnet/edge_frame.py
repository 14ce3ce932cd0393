"""Pair mixing in the frame of the edge: dense matrices within each m, gated by a network of the invariants."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import EdgeGeometry
from ase_mlwave.models.phisnet.layers import OrderLinear, OrderWeights, ResidualBlock, ScalarGate
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.packing import PackedModule

__all__ = ["EdgeFrameInteraction", "EdgeFrameMixing", "EdgeFramePairs"]


class EdgeFrameMixing(PackedModule):
    """Couple the features of two atoms along their edge, all orders and channels at once.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels F.
    n_radial : int
        Radial functions.
    hidden : int
        Width of the invariant network, and of the gated layer of each m.

    Notes
    -----
    Differs from the paper: there pair mixing is a sum over Clebsch-Gordan couplings with radial coefficients. In the
    frame of the edge a harmonic has one non-zero component, so those sums become matrices within each m; the
    invariants (m = 0 of natural parity) may pass any network, which then gates all others.
    Sources: Passaro and Zitnick (arXiv:2302.03655), SO(2) layers; QHNetV2 (arXiv:2506.09398).
    Law: ``test_network_is_equivariant``.
    """

    def __init__(self, layout: OrderLayout, features: int, n_radial: int, hidden: int) -> None:
        super().__init__()
        self.edges = EdgeLayout(layout)
        self.features = features
        self.hidden = hidden
        self.first = OrderLinear(layout, features, features)
        self.second = OrderLinear(layout, features, features)
        n0, n_pseudo, n_of_m = self.edges.n_invariant, self.edges.n_pseudo, self.edges.n_of_m
        self.invariant_in = nn.Linear(n0 * features, hidden)
        self.radial = nn.Linear(n_radial, 2 * hidden)
        self.invariant_hidden = nn.Linear(hidden, hidden)
        n_gates = len(n_of_m) + (1 if n_pseudo else 0)
        self.gates = nn.Linear(hidden, n_gates * hidden)
        self.invariant_out = nn.Linear(hidden, n0 * features)
        self.blocks = ([(n_pseudo, 1)] if n_pseudo else []) + [(width, 2) for width in n_of_m]
        """Orders and copies (cosines and sines) of each block besides the invariants."""
        widths = [width for width, _ in self.blocks]
        self.inward = nn.ParameterList(torch.randn(w * features, hidden) * (w * features) ** -0.5 for w in widths)
        self.outward = nn.ParameterList(torch.randn(hidden, w * features) * hidden**-0.5 for w in widths)

    @property
    def packed_from(self) -> tuple[Tensor, ...]:
        """All weights."""
        linear = (self.invariant_in, self.radial, self.invariant_hidden, self.gates, self.invariant_out)
        biased = (self.first, self.second, *linear)
        return (*(w for layer in biased for w in (layer.weight, layer.bias)), *self.inward, *self.outward)

    def pack(self) -> _MixingWeights:
        """Join weights that act on the same features."""
        matrices = torch.cat([self.first.weight, self.second.weight], dim=2)
        biases = torch.cat([self.first.bias, self.second.bias])
        gated = torch.cat([self.gates.weight, self.invariant_out.weight])
        scaled = nn.functional.pad(torch.ones_like(self.radial.bias[: self.hidden]), (0, self.hidden))
        return _MixingWeights(
            atoms=OrderWeights.of(matrices, biases, self.first.layout, self.first.order_of_row),  # type: ignore[arg-type]
            radial_bias=self.radial.bias + scaled,
            gated=gated.t(),
            gated_bias=torch.cat([self.gates.bias, self.invariant_out.bias]),
            inward=tuple(w.expand(n, -1, -1) for w, (_, n) in zip(self.inward, self.blocks, strict=True)),
            outward=tuple(w.expand(n, -1, -1) for w, (_, n) in zip(self.outward, self.blocks, strict=True)),
        )

    def forward(self, x: Tensor, geometry: EdgeGeometry) -> Tensor:
        """Mix features of atoms i and j.

        Parameters
        ----------
        x : Tensor, (R, N, F)
            Atom features.
        geometry : EdgeGeometry
            Pairs, with their frames.

        Returns
        -------
        Tensor, (E, R, F)
            Pair features outside the frame, zero at the cutoff.
        """
        weights: _MixingWeights = self.packed()
        n_rows, n, features = x.shape
        both = weights.atoms(x).view(n_rows, n, 2, features)
        first, second = both.permute(2, 1, 0, 3).contiguous().unbind()  # (N, R, F) each
        sums = first.index_select(0, geometry.first) + second.index_select(0, geometry.second)
        u = torch.bmm(geometry.rotation, sums)  # (E, R, F), by m
        return torch.bmm(geometry.faded_back, self._within_frame(u, geometry.rbf, weights))

    def _within_frame(self, u: Tensor, rbf: Tensor, weights: _MixingWeights) -> Tensor:
        """Act on features in the frame, (E, R, F) -> (E, R, F)."""
        n, n0, features = u.shape[0], self.edges.n_invariant, self.features
        invariants, *others = u.split([n0, *(width * copies for width, copies in self.blocks)], dim=1)
        scale, shift = torch.addmm(weights.radial_bias, rbf, self.radial.weight.t()).split(self.hidden, dim=1)
        h = nn.functional.silu(torch.addcmul(shift, self.invariant_in(invariants.flatten(1)), scale))
        h = nn.functional.silu(self.invariant_hidden(h))
        gated = torch.addmm(weights.gated_bias, h, weights.gated)
        *gates, out = gated.split([*[self.hidden] * len(self.blocks), n0 * features], dim=1)
        parts = [out.view(n, n0, features)]
        for v, (width, copies), gate, inward, outward in zip(
            others, self.blocks, gates, weights.inward, weights.outward, strict=True
        ):
            within = v.view(n, copies, width * features).transpose(0, 1)  # (copies, E, orders F)
            mixed = torch.bmm(torch.bmm(within, inward) * gate, outward).view(copies, n, width, features)
            parts += mixed.unbind()
        return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class _MixingWeights:
    """Weights of an `EdgeFrameMixing`, joined."""

    atoms: OrderWeights
    radial_bias: Tensor
    gated: Tensor
    gated_bias: Tensor
    inward: tuple[Tensor, ...]
    outward: tuple[Tensor, ...]


class EdgeFrameInteraction(nn.Module):
    """Gather messages from all neighbours and add them to an atom's features.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        self.mixing = EdgeFrameMixing(layout, config.features, config.n_radial, config.hidden)
        self.residual = ResidualBlock(layout, config.features, gated=True)
        self.gate = ScalarGate(layout, config.features)
        self.linear = OrderLinear(layout, config.features, config.features)

    def forward(self, x: Tensor, geometry: EdgeGeometry) -> Tensor:
        """Map features (R, N, F) to the same shape."""
        messages = self.mixing(x, geometry)
        n_rows, n, features = x.shape
        nothing = geometry.cut.new_zeros(n, n_rows, features)  # sums in the network's precision
        gathered = nothing.index_add(0, geometry.first, messages.to(nothing.dtype)).transpose(0, 1)
        update: Tensor = self.linear(self.gate(self.residual(gathered)))
        return x + update


class EdgeFramePairs(nn.Module):
    """Make the features of matrix blocks: of atoms for diagonal, of pairs for off-diagonal ones.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        self.atoms = ResidualBlock(layout, config.features, gated=True)
        self.mixing = EdgeFrameMixing(layout, config.features, config.n_radial, config.hidden)
        self.residual = ResidualBlock(layout, config.features, gated=True)

    def forward(self, f: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, Tensor]:
        """Map features (R, N, F) to those of diagonal blocks (R, N, F) and of pairs (R, E, F).

        Pair features are multiplied by the cutoff function last, so that blocks vanish smoothly.
        """
        pairs = self.residual(self.mixing(f, geometry).transpose(0, 1)) * geometry.cut[:, None]
        atoms: Tensor = self.atoms(f)
        return atoms, pairs

    def environment_free(self, embedded: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, Tensor]:
        """Make block features from elements and distance alone, as the overlap needs."""
        return self.forward(embedded, geometry)
