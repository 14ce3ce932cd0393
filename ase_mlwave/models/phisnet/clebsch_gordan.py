"""The paper's interactions: Clebsch-Gordan couplings, channel by channel, with radial coefficients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.couplings import ChannelCoupling, Path, couples_to, coupling_tensor
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import EdgeGeometry
from ase_mlwave.models.phisnet.layers import GeneralisedSwish, MixingLinear, ResidualBlock
from ase_mlwave.models.phisnet.orders import OrderLayout, with_rows

__all__ = ["HarmonicMixing", "PairMixing", "PaperInteraction", "PaperOverlapPairs", "PaperPairs"]

#: Size of new radial coefficients of messages, and of products of two atoms' features, such that features keep their
#: size through five modules and matrices start with elements of order one.
_MESSAGE_GAIN, _PRODUCT_GAIN = 0.5, 0.1


class PairMixing(nn.Module):
    """Couple the features of two atoms in all ways, each with a coefficient linear in the radial functions.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels F.
    n_radial : int
        Radial functions K.

    Notes
    -----
    Source: Unke et al. 2021, pair-mixing layer.
    """

    def __init__(self, layout: OrderLayout, features: int, n_radial: int) -> None:
        super().__init__()
        self.coupling = ChannelCoupling(layout, distinct=False)
        self.weight = nn.Parameter(_PRODUCT_GAIN * _path_weights(self.coupling.paths, n_radial, features))

    def forward(self, x: Tensor, y: Tensor, rbf: Tensor) -> Tensor:
        """Map features of both atoms of each pair (R, E, F) to those of the pair, zero at the cutoff."""
        coefficients = rbf @ self.weight  # (paths, E, F)
        result: Tensor = self.coupling(x, y, coefficients)
        return result


class HarmonicMixing(nn.Module):
    """Couple the features of atom j in all ways with the spherical harmonics of the edge.

    In the frame of the edge a harmonic has one component, m = 0: the couplings become, for each m, a matrix between
    orders with radial entries, which is what is evaluated. The message is that of the paper.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels F.
    n_radial : int
        Radial functions K.

    Notes
    -----
    message = pair-mixing(y_j, A1 Y(u); rbf) + radial_l(r) A2 Y_l(u) y_j,0.
    Source: Unke et al. 2021, interaction block. Law: ``test_harmonic_mixing_equals_couplings_with_harmonics``.
    """

    degree: Tensor
    matrix: Tensor
    by_m: Tensor
    from_m: Tensor

    def __init__(self, layout: OrderLayout, features: int, n_radial: int) -> None:
        super().__init__()
        self.edges = EdgeLayout(layout)
        harmonics = [(l, (-1) ** l) for l in range(layout.max_order + 1)]
        self.paths = [(o, y, end) for o in layout.orders for y in harmonics for end in couples_to(o, y, layout)]
        self.weight = nn.Parameter(_MESSAGE_GAIN * _path_weights(self.paths, n_radial, features))
        self.of_harmonics = nn.Parameter(torch.ones(len(harmonics), features))  # A1
        self.direct = nn.Parameter(_MESSAGE_GAIN * torch.randn(len(harmonics), n_radial, features))  # radial_l
        self.of_direct = nn.Parameter(torch.ones(len(harmonics), features))  # A2
        self.register_buffer("degree", torch.tensor([y[0] for _, y, _ in self.paths]), persistent=False)
        self.register_buffer("matrix", self._matrix(), persistent=False)
        self.register_buffer("by_m", self.edges.by_m, persistent=False)
        self.register_buffer("from_m", self.edges.by_m.argsort(), persistent=False)

    def _blocks(self) -> list[tuple[int, int]]:
        """Size of the matrix between orders and number of copies it serves: m = 0 of either parity, m = 1, 2..."""
        pseudo = [(self.edges.n_pseudo, 1)] if self.edges.n_pseudo else []
        return [(self.edges.n_invariant, 1), *pseudo, *((width, 2) for width in self.edges.n_of_m)]

    def _matrix(self) -> Tensor:
        """Give the linear map from coefficients of paths to the entries of all blocks, (entries, paths)."""
        entries: list[list[float]] = []
        start = 0
        for width, copies in self._blocks():
            rows = self.edges.rows[start : start + width]  # the cosines; sines have the same matrix
            for end, to, sign_to in rows:
                for order, source, sign_from in rows:
                    coefficients = []
                    for first, (l2, _), last in self.paths:
                        fits = first == order and last == end
                        value = coupling_tensor(order[0], l2, end[0])[source, l2, to] if fits else 0.0
                        coefficients.append(float(value) * sign_to * sign_from * (2 * l2 + 1) ** 0.5)
                    entries.append(coefficients)
            start += width * copies
        return torch.tensor(entries, dtype=torch.float64)

    def forward(self, y: Tensor, geometry: EdgeGeometry) -> Tensor:
        """Map features (R, N, F) to messages of all pairs (R, E, F), zero at the cutoff."""
        of_second = y.index_select(1, geometry.second).transpose(0, 1)
        natural, unnatural = geometry.rotations
        parts = of_second.split([natural.shape[1], unnatural.shape[1]], dim=1)
        turned = torch.cat([torch.bmm(natural, parts[0]), torch.bmm(unnatural, parts[1])], dim=1)
        u = turned.transpose(0, 1).index_select(0, self.by_m)  # (R, E, F), by m
        coefficients = (geometry.rbf @ self.weight) * self.of_harmonics[self.degree][:, None]  # (paths, E, F)
        entries = (self.matrix.to(y.dtype) @ coefficients.flatten(1)).view(self.matrix.shape[0], *u.shape[1:])
        blocks = self._blocks()
        results = []
        for (width, copies), within, block in zip(
            blocks,
            u.split([width * copies for width, copies in blocks]),
            entries.split([width * width for width, _ in blocks]),
            strict=True,
        ):
            square = block.view(1, width, width, *u.shape[1:])
            square = square.expand(copies, -1, -1, -1, -1)  # before the product: one axis at a time, as in couplings
            results.append((square * within.view(copies, 1, width, *u.shape[1:])).sum(2).flatten(0, 1))
        results[0] = results[0] + (geometry.rbf @ self.direct) * self.of_direct[:, None] * u[:1]
        v = torch.cat(results).index_select(0, self.from_m).transpose(0, 1)
        back = zip(geometry.rotations, v.split([natural.shape[1], unnatural.shape[1]], dim=1), strict=True)
        return torch.cat([torch.bmm(rotation.mT, part) for rotation, part in back], dim=1).transpose(0, 1)


class PaperInteraction(nn.Module):
    """Gather messages from all neighbours and add them to an atom's features.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.

    Notes
    -----
    Source: Unke et al. 2021, interaction block.
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        self.before = GeneralisedSwish(config.features)
        self.central = MixingLinear(layout, config.features)
        self.neighbour = MixingLinear(layout, config.features)
        self.mixing = HarmonicMixing(layout, config.features, config.n_radial)
        self.residual = ResidualBlock(layout, config.features, gated=False)
        self.after = GeneralisedSwish(config.features)
        self.linear = MixingLinear(layout, config.features)

    def forward(self, x: Tensor, geometry: EdgeGeometry) -> Tensor:
        """Map features (R, N, F) to the same shape."""
        activated = self.before(x)
        messages = self.mixing(self.neighbour(activated), geometry)
        y = self.central(activated).index_add(1, geometry.first, messages)
        result: Tensor = x + self.linear(self.after(self.residual(y)))
        return result


class PaperPairs(nn.Module):
    """Make the features of matrix blocks from those of atoms.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.

    Notes
    -----
    f_ii = f_c,i + sum_j radial(r_ij) f_n,j and f_ij = pair-mixing(f_c,i, f_c,j) + sum_{k != i, j} radial(r_ik) f_n,k.
    Source: Unke et al. 2021, pairwise features.
    """

    order_of_row: Tensor

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        features = config.features
        self.before = GeneralisedSwish(features)
        self.central = MixingLinear(layout, features)
        self.neighbour = MixingLinear(layout, features)
        self.radial_atoms = nn.Parameter(_MESSAGE_GAIN * torch.randn(len(layout.orders), config.n_radial, features))
        self.radial_pairs = nn.Parameter(_MESSAGE_GAIN * torch.randn(len(layout.orders), config.n_radial, features))
        self.mixing = PairMixing(layout, features, config.n_radial)
        self.atoms = nn.Sequential(ResidualBlock(layout, features, gated=False), GeneralisedSwish(features))
        self.pairs = nn.Sequential(ResidualBlock(layout, features, gated=False), GeneralisedSwish(features))
        self.register_buffer("order_of_row", layout.order_of_row, persistent=False)

    def forward(self, f: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, Tensor]:
        """Map features (R, N, F) to those of diagonal blocks (R, N, F) and of pairs (R, E, F).

        Heads multiply by the cutoff function last, so that blocks vanish smoothly.
        """
        first, second = geometry.first, geometry.second
        activated = self.before(f)
        central, neighbour = self.central(activated), self.neighbour(activated).index_select(1, second)
        f_atoms = central.index_add(1, first, self._faded(self.radial_atoms, geometry) * neighbour)
        surroundings = self._faded(self.radial_pairs, geometry) * neighbour  # (R, E, F), the term of atom j
        around = torch.zeros_like(central).index_add(1, first, surroundings).index_select(1, first)
        mixed = self.mixing(central.index_select(1, first), central.index_select(1, second), geometry.rbf)
        return self.atoms(f_atoms), self.pairs(mixed + around - surroundings)

    def _faded(self, weight: Tensor, geometry: EdgeGeometry) -> Tensor:
        """Evaluate radial functions of every order, (R, E, F)."""
        return (geometry.rbf @ weight).index_select(0, self.order_of_row)


class PaperOverlapPairs(nn.Module):
    """Make the features of overlap blocks from the two elements and the distance vector alone.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.

    Notes
    -----
    f_ij,l = radial_l(r_ij) (f_c,i,0 + f_n,j,0) Y_l(u_ij). Source: Unke et al. 2021, overlap matrix.
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        features = config.features
        self.central = nn.Linear(features, features)
        self.neighbour = nn.Linear(features, features)
        self.radial = nn.Parameter(2 * torch.randn(layout.max_order + 1, config.n_radial, features))
        self.atoms = nn.Sequential(ResidualBlock(layout, features, gated=False), GeneralisedSwish(features))
        self.pairs = nn.Sequential(ResidualBlock(layout, features, gated=False), GeneralisedSwish(features))

    def environment_free(self, embedded: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, Tensor]:
        """Map embedded elements (R, N, F) to features of diagonal blocks (R, N, F) and of pairs (R, E, F)."""
        of_first = self.central(embedded[0]).index_select(0, geometry.first)
        of_second = self.neighbour(embedded[0]).index_select(0, geometry.second)
        scalars = nn.functional.silu(of_first + of_second)
        along = (geometry.rbf @ self.radial).transpose(0, 1) * scalars[:, None]  # (E, L + 1, F): m = 0 in the frame
        harmonics = geometry.rotations[0][:, : along.shape[1]].mT  # (E, R+, L + 1)
        natural = torch.bmm(harmonics, along).transpose(0, 1)
        return self.atoms(embedded), self.pairs(with_rows(natural, len(embedded)))


def _path_weights(paths: list[Path], n_radial: int, features: int) -> Tensor:
    """Draw coefficients of the radial functions for each path, (paths, K, F)."""
    ends = [end for _, _, end in paths]
    sizes = torch.tensor([ends.count(end) ** -0.5 for end in ends])
    return torch.randn(len(paths), n_radial, features) * sizes[:, None, None]
