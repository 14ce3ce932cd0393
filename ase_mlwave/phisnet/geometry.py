"""Everything about the pairs of a batch that depends on geometry alone: computed once, shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor

from ase_mlwave.phisnet.batch import MoleculeBatch
from ase_mlwave.phisnet.frames import EdgeLayout
from ase_mlwave.phisnet.orders import OrderLayout
from ase_mlwave.phisnet.radial import BernsteinBasis
from ase_mlwave.quantum.ao_order import to_e3nn

__all__ = ["EdgeGeometry", "edge_geometry"]


@dataclass(frozen=True)
class EdgeGeometry:
    """Pairs of a batch in the network's precision.

    Parameters
    ----------
    batch : MoleculeBatch
        Atoms and pairs.
    rbf, cut : Tensor, (E, K) and (E,)
        Radial functions and cutoff function of the distances.
    rotation : Tensor, (E, R, R), or None
        Into the frames of the edges (models that couple there).
    harmonics : Tensor, (E, (L+1)^2), or None
        Real spherical harmonics of the unit vectors (models that couple by Clebsch-Gordan).
    """

    batch: MoleculeBatch
    rbf: Tensor
    cut: Tensor
    rotation: Tensor | None
    harmonics: Tensor | None


def edge_geometry(
    batch: MoleculeBatch, radial: BernsteinBasis, layout: OrderLayout, dtype: torch.dtype, *, frames: bool
) -> EdgeGeometry:
    """Evaluate radial functions, and frames or harmonics, of all pairs.

    Parameters
    ----------
    batch : MoleculeBatch
        Positions in Bohr, float64; differences are taken in float64, then cast.
    radial : BernsteinBasis
        Radial functions.
    layout : OrderLayout
        Orders of the features.
    dtype : torch.dtype
        Precision of the network.
    frames : bool
        Build rotations into edge frames; otherwise spherical harmonics.

    Returns
    -------
    EdgeGeometry
        Differentiable with respect to the positions.
    """
    vectors = batch.positions[batch.second] - batch.positions[batch.first]
    distances = vectors.norm(dim=1)
    directions = (vectors / distances[:, None]).to(dtype)
    rbf, cut = radial(distances.to(dtype))
    rotation = EdgeLayout(layout).rotation(directions) if frames else None
    harmonics = None
    if not frames:
        orders = list(range(layout.max_order + 1))
        harmonics = o3.spherical_harmonics(orders, to_e3nn(directions), normalize=False, normalization="norm")
    return EdgeGeometry(batch, rbf, cut, rotation, harmonics)
