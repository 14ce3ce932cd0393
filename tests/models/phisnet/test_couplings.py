"""Clebsch-Gordan couplings: the grouped evaluation against one path at a time, and against harmonics of e3nn."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from torch import Tensor

from ase_mlwave.models.phisnet import couplings
from ase_mlwave.models.phisnet.clebsch_gordan import HarmonicMixing, PaperOverlapPairs
from ase_mlwave.models.phisnet.couplings import ChannelCoupling, couples_to, coupling_tensor
from ase_mlwave.models.phisnet.embedding import ElementEmbedding
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import EdgeGeometry, edge_geometry
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.radial import BernsteinBasis
from ase_mlwave.quantum.ao_order import to_e3nn
from ase_mlwave.systems.batch import SystemBatch
from tests.models.phisnet.systems import assert_equal, geometry, joined, settings


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _edges(batch: SystemBatch, radial: BernsteinBasis, layout: OrderLayout) -> EdgeGeometry:
    return edge_geometry(batch.vectors(), batch.first, batch.second, radial, EdgeLayout(layout), torch.float64)


def _one_by_one(coupling: ChannelCoupling, layout: OrderLayout, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for (a, b, c), weight in zip(coupling.paths, weights, strict=True):
        tensor = coupling_tensor(a[0], b[0], c[0])
        coupled = torch.einsum("anf,bnf,abc->cnf", x[layout.rows[a]], y[layout.rows[b]], tensor)
        total[layout.rows[c]] += coupled * weight
    return total


@pytest.mark.parametrize("unnatural", [0, 2, 3])
@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("chunk", [2048, 8])
def test_channel_coupling_equals_single_paths(
    unnatural: int, distinct: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couplings, "_CHUNK", chunk)
    layout = OrderLayout(3, unnatural)
    coupling = ChannelCoupling(layout, distinct=distinct)
    x = _draw(layout.n_rows, 5, 4)
    y = x if distinct else _draw(layout.n_rows, 5, 4, seed=1)
    for weights in (_draw(len(coupling.paths), 4, seed=2), _draw(len(coupling.paths), 5, 4, seed=3)):
        assert_equal(coupling(x, y, weights), _one_by_one(coupling, layout, x, y, weights))


def test_paths_are_all_there_once() -> None:
    layout = OrderLayout(3, 2)
    everything = {(a, b, c) for a in layout.orders for b in layout.orders for c in couples_to(a, b, layout)}
    paths = ChannelCoupling(layout, distinct=False).paths
    assert len(paths) == len(everything)
    assert set(paths) == everything
    mixing = ChannelCoupling(layout, distinct=True).paths
    assert len({(frozenset((a, b)), c) for a, b, c in mixing}) == len(mixing)
    assert {(frozenset((a, b)), c) for a, b, c in mixing} == {
        (frozenset((a, b)), c) for a, b, c in everything if a != b
    }


def test_coupling_keeps_unit_variance() -> None:
    for l1, l2, l3 in [(1, 2, 3), (2, 2, 1), (0, 3, 3)]:
        squares = coupling_tensor(l1, l2, l3).square().sum(dim=(0, 1))
        torch.testing.assert_close(squares, torch.ones(2 * l3 + 1).double())


def test_large_batches_are_differentiated_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are computed again in the backward pass: first and second derivatives must not notice."""
    layout = OrderLayout(2, 2)
    coupling = ChannelCoupling(layout, distinct=True)
    weights = _draw(len(coupling.paths), 4, seed=2).requires_grad_()
    results = []
    for chunk in (2048, 8):
        monkeypatch.setattr(couplings, "_CHUNK", chunk)
        x = _draw(layout.n_rows, 6, 4).requires_grad_()
        (first,) = torch.autograd.grad(coupling(x, x, weights).square().sum(), x, create_graph=True)
        results.append((first.detach(), *torch.autograd.grad(first.square().sum(), (x, weights))))
    for whole, chunked in zip(*results, strict=True):
        assert_equal(chunked, whole)


def test_harmonic_mixing_equals_couplings_with_harmonics() -> None:
    """The evaluation in the frame of the edge against Clebsch-Gordan sums with e3nn's spherical harmonics."""
    layout, features, n_radial = OrderLayout(3, 3), 4, 5
    with torch.random.fork_rng():
        torch.manual_seed(3)
        mixing = HarmonicMixing(layout, features, n_radial).double()
        for parameter in mixing.parameters():
            parameter.data = torch.randn_like(parameter)
        batch = joined([geometry("OCHH")], 8.0)
        pairs = _edges(batch, BernsteinBasis(n_radial, 8.0).double(), layout)
        x = torch.randn(layout.n_rows, 4, features).double()
    vectors = to_e3nn(batch.positions[batch.second] - batch.positions[batch.first])
    harmonics = [
        o3.spherical_harmonics(l, vectors, normalize=True, normalization="component")
        for l in range(layout.max_order + 1)
    ]
    y = x.transpose(0, 1)[batch.second]
    expected = torch.zeros_like(y)
    for path, (a, b, c) in enumerate(mixing.paths):
        coefficients = pairs.rbf @ mixing.weight[path] * mixing.of_harmonics[b[0]]
        tensor = coupling_tensor(a[0], b[0], c[0])
        coupled = torch.einsum("eaf,eb,abc->ecf", y[:, layout.rows[a]], harmonics[b[0]], tensor)
        expected[:, layout.rows[c]] += coupled * coefficients[:, None]
    for l, harmonic in enumerate(harmonics):
        radial = pairs.rbf @ mixing.direct[l] * mixing.of_direct[l]
        unit = harmonic / (2 * l + 1) ** 0.5
        expected[:, layout.rows[(l, (-1) ** l)]] += unit[:, :, None] * (radial * y[:, 0])[:, None]
    assert_equal(mixing(x, pairs).transpose(0, 1).detach(), expected.detach())


def test_overlap_features_are_harmonics_of_the_edge() -> None:
    """Before its residual block, which starts as the identity, the pair's features are natural and along the edge."""
    config = settings("clebsch_gordan")
    layout = OrderLayout(config.max_order, config.max_unnatural_order)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        pairs = PaperOverlapPairs(config, layout).double()
        embedding = ElementEmbedding(layout, config.features, config.numbers).double()
    batch = joined([geometry("OC")], config.cutoff)
    edges = _edges(batch, BernsteinBasis(config.n_radial, config.cutoff).double(), layout)
    _, features = pairs.environment_free(embedding(torch.tensor([2, 1])), edges)
    vectors = to_e3nn(batch.positions[batch.second] - batch.positions[batch.first])
    for l in range(1, config.max_order + 1):
        harmonic = o3.spherical_harmonics(l, vectors, normalize=True, normalization="norm")
        part = features[layout.rows[(l, (-1) ** l)]].detach().transpose(0, 1)
        along = torch.einsum("ecf,ec->ef", part, harmonic)
        assert_equal(part, harmonic[:, :, None] * along[:, None])
    assert not features[layout.rows[(1, 1)]].detach().any()
