"""Layers in the frames of edges."""

from __future__ import annotations

import pytest
import torch

from ase_mlwave.models.phisnet.edge_frame import EdgeFrameInteraction, EdgeFramePairs
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import edge_geometry
from ase_mlwave.models.phisnet.orders import OrderLayout, with_rows
from ase_mlwave.models.phisnet.radial import BernsteinBasis
from tests.models.phisnet.systems import assert_equal, geometry, joined, settings


@pytest.mark.parametrize("unnatural", [0, 2])
@pytest.mark.parametrize("natural", [False, True])
@torch.no_grad()
def test_rows_that_are_left_out_count_as_zeros(unnatural: int, natural: bool) -> None:
    config = settings("edge_frame", max_unnatural_order=unnatural)
    layout = OrderLayout(config.max_order, unnatural)
    batch = joined([geometry("OHH")], config.cutoff)
    radial = BernsteinBasis(config.n_radial, config.cutoff).double()
    edges = edge_geometry(batch.vectors(), batch.first, batch.second, radial, EdgeLayout(layout), torch.float64)
    some = torch.randn(layout.n_natural if natural else 1, 3, config.features, dtype=torch.float64)
    every = with_rows(some, layout.n_rows)
    for layer in (EdgeFrameInteraction(config, layout).double(), EdgeFramePairs(config, layout).double()):
        for weight in layer.parameters():  # last layers of residual blocks start at zero
            torch.nn.init.normal_(weight, std=0.3)
        short, full = layer(some, edges), layer(every, edges)
        short, full = (result if isinstance(result, tuple) else (result,) for result in (short, full))
        for a, b in zip(short, full, strict=True):
            assert_equal(with_rows(a, layout.n_rows), b)
