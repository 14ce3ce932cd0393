"""Pair mixing in the frame of the edge: dense matrices within each m, gated by a network of the invariants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import EdgeGeometry
from ase_mlwave.models.phisnet.layers import OrderLinear, ResidualBlock, ScalarGate
from ase_mlwave.models.phisnet.orders import OrderLayout

__all__ = ["EdgeFrameInteraction", "EdgeFrameMixing", "EdgeFramePairs"]


class EdgeFrameMixing(nn.Module):
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
        widths = ([n_pseudo] if n_pseudo else []) + list(n_of_m)
        self.inward = nn.ParameterList(torch.randn(w * features, hidden) * (w * features) ** -0.5 for w in widths)
        self.outward = nn.ParameterList(torch.randn(hidden, w * features) * hidden**-0.5 for w in widths)

    def forward(self, x: Tensor, geometry: EdgeGeometry) -> Tensor:
        """Mix features of atoms i and j.

        Parameters
        ----------
        x : Tensor, (N, R, F)
            Atom features.
        geometry : EdgeGeometry
            Pairs, with their frames.

        Returns
        -------
        Tensor, (E, R, F)
            Pair features outside the frame, zero at the cutoff.
        """
        rotation, batch = geometry.rotation, geometry.batch
        u = torch.bmm(rotation, self.first(x)[batch.first] + self.second(x)[batch.second])  # (E, R, F), by m
        mixed = self._within_frame(u, geometry.rbf) * geometry.cut[:, None, None]
        return torch.bmm(rotation.transpose(1, 2), mixed)

    def _within_frame(self, u: Tensor, rbf: Tensor) -> Tensor:
        """Act on features in the frame, (E, R, F) -> (E, R, F)."""
        n, features, hidden = u.shape[0], self.features, self.hidden
        n0, n_pseudo = self.edges.n_invariant, self.edges.n_pseudo
        sizes = ([(n_pseudo, 1)] if n_pseudo else []) + [(w, 2) for w in self.edges.n_of_m]
        invariants, *others = u.split([n0, *(width * copies for width, copies in sizes)], dim=1)
        scale, shift = self.radial(rbf).chunk(2, dim=1)
        h = nn.functional.silu(self.invariant_in(invariants.flatten(1)) * (1 + scale) + shift)
        h = nn.functional.silu(self.invariant_hidden(h))
        gates = self.gates(h).view(n, len(sizes), 1, hidden).unbind(1)
        parts = [self.invariant_out(h).view(n, n0, features)]
        for v, (width, copies), gate, inward, outward in zip(
            others, sizes, gates, self.inward, self.outward, strict=True
        ):
            mixed = ((v.reshape(n, copies, width * features) @ inward) * gate) @ outward
            parts.append(mixed.view(n, width * copies, features))
        return torch.cat(parts, dim=1)


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
        """Map features (N, R, F) to the same shape."""
        batch = geometry.batch
        messages = self.mixing(x, geometry)
        gathered = torch.zeros_like(x).index_add(0, batch.first, messages)
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
        """Map features (N, R, F) to those of diagonal blocks (N, R, F) and of pairs (E, R, F).

        Pair features are multiplied by the cutoff function last, so that blocks vanish smoothly.
        """
        pairs = self.residual(self.mixing(f, geometry)) * geometry.cut[:, None, None]
        atoms: Tensor = self.atoms(f)
        return atoms, pairs

    def environment_free(self, embedded: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, Tensor]:
        """Make block features from elements and distance alone, as the overlap needs."""
        return self.forward(embedded, geometry)
