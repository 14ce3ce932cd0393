"""Electron configurations and the embedding of elements."""

from __future__ import annotations

import torch

from ase_mlwave.models.phisnet.embedding import ElementEmbedding, electron_configuration
from ase_mlwave.models.phisnet.orders import OrderLayout


def test_subshells_fill_by_madelungs_rule() -> None:
    assert electron_configuration(1)[:3] == (1, 0, 0)
    assert electron_configuration(8)[:4] == (2, 2, 4, 0)
    assert electron_configuration(26)[:8] == (2, 2, 6, 2, 6, 2, 6, 0)  # 1s 2s 2p 3s 3p 4s 3d
    assert all(sum(electron_configuration(z)) == z for z in range(1, 119))


def test_embedding_is_invariant_and_tells_elements_apart() -> None:
    layout = OrderLayout(2, 2)
    x = ElementEmbedding(layout, 8, (1, 6, 8))(torch.tensor([0, 2, 2, 1])).detach()
    assert x.shape == (layout.n_rows, 4, 8)
    assert not x[1:].any()
    assert torch.equal(x[:, 1], x[:, 2])
    assert not torch.equal(x[:, 0], x[:, 1])
