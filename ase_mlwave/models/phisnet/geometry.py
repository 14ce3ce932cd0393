"""Everything about the pairs of a batch that depends on geometry alone: computed once, shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.radial import BernsteinBasis
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["EdgeGeometry", "edge_geometry"]


@dataclass(frozen=True)
class EdgeGeometry:
    """Pairs of a batch in the network's precision.

    Parameters
    ----------
    batch : SystemBatch
        Atoms and pairs.
    rbf, cut : Tensor, (E, K) and (E,)
        Radial functions and cutoff function of the distances.
    rotation : Tensor, (E, R, R)
        Into the frames of the edges, rows as :class:`ase_mlwave.models.phisnet.frames.EdgeLayout` sorts them.
    """

    batch: SystemBatch
    rbf: Tensor
    cut: Tensor
    rotation: Tensor


def edge_geometry(batch: SystemBatch, radial: BernsteinBasis, layout: OrderLayout, dtype: torch.dtype) -> EdgeGeometry:
    """Evaluate radial functions and frames of all pairs.

    Parameters
    ----------
    batch : SystemBatch
        Positions in Bohr, float64; differences are taken in float64, then cast.
    radial : BernsteinBasis
        Radial functions.
    layout : OrderLayout
        Orders of the features.
    dtype : torch.dtype
        Precision of the network.

    Returns
    -------
    EdgeGeometry
        Differentiable with respect to the positions.
    """
    vectors = batch.vectors()
    distances = vectors.norm(dim=1)
    directions = (vectors / distances[:, None]).to(dtype)
    rbf, cut = radial(distances.to(dtype))
    return EdgeGeometry(batch, rbf, cut, EdgeLayout(layout).rotation(directions))
