"""Means and covariances of rows in parts."""

from __future__ import annotations

import pytest
import torch

from ase_mlwave.models.phisnet.moments import Moments


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_moments_of_parts_are_those_of_the_whole(far: float) -> None:
    """Also far from zero, where sums of squares would have no digits left."""
    rows = torch.randn(101, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + far
    centred = rows - rows.mean(dim=0)
    for joint, scatter in ((False, centred.square().sum(dim=0)), (True, centred.T @ centred)):
        moments = Moments(joint=joint)
        for part in rows.split([1, 60, 40]):
            moments.add(part)
        assert moments.count == 101
        torch.testing.assert_close(moments.mean, rows.mean(dim=0), rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(moments.scatter, scatter, rtol=1e-10, atol=1e-10)
