"""Everything about the pairs of a batch that depends on geometry alone: computed once, shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.radial import BernsteinBasis

__all__ = ["EdgeGeometry", "edge_geometry"]


@dataclass(frozen=True)
class EdgeGeometry:
    """Pairs of atoms in the network's precision.

    Parameters
    ----------
    first, second : Tensor, (E,)
        Atoms of each pair.
    distances : Tensor, (E,)
        Bohr.
    rbf, cut : Tensor, (E, K) and (E,)
        Radial functions and cutoff function of the distances.
    rotations : tuple of Tensor, (E, R+, R+) and (E, R-, R-)
        Of natural and unnatural features into the frames of the edges, rows as
        :class:`ase_mlwave.models.phisnet.frames.EdgeLayout` sorts them; or those rows alone that give invariants,
        (E, L + 1, R+) and (E, 0, 0).
    """

    first: Tensor
    second: Tensor
    distances: Tensor
    rbf: Tensor
    cut: Tensor
    rotations: tuple[Tensor, Tensor]

    @classmethod
    def of(
        cls,
        radial: BernsteinBasis,
        first: Tensor,
        second: Tensor,
        distances: Tensor,
        rotations: tuple[Tensor, Tensor],
        cutoff: float | None = None,
    ) -> EdgeGeometry:
        """Complete what is known of pairs by radial functions, which vanish at ``cutoff`` (by default the basis')."""
        rbf, cut = radial(distances, cutoff)
        return cls(first, second, distances, rbf, cut, rotations)

    def within(
        self, near: Tensor, first: Tensor, second: Tensor, radial: BernsteinBasis, cutoff: float
    ) -> EdgeGeometry:
        """Select pairs (n,), and let their radial functions vanish at a shorter cutoff."""
        natural, unnatural = (rotation.index_select(0, near) for rotation in self.rotations)
        return self.of(radial, first, second, self.distances.index_select(0, near), (natural, unnatural), cutoff)


def edge_geometry(
    vectors: Tensor,
    first: Tensor,
    second: Tensor,
    radial: BernsteinBasis,
    edges: EdgeLayout,
    dtype: torch.dtype,
    *,
    axial: bool = False,
) -> EdgeGeometry:
    """Evaluate radial functions and frames of all pairs.

    Parameters
    ----------
    vectors : Tensor, (E, 3)
        From first to second atoms, Bohr, float64.
    first, second : Tensor, (E,)
        Atoms of each pair.
    radial : BernsteinBasis
        Radial functions.
    edges : EdgeLayout
        Rows of features in the frames.
    dtype : torch.dtype
        Precision of the network.
    axial : bool
        Of rotations only what gives invariants: `EdgeLayout.axial_rotations`.

    Returns
    -------
    EdgeGeometry
        Differentiable with respect to the vectors.
    """
    distances = vectors.norm(dim=1)
    directions = (vectors / distances[:, None]).to(dtype)
    rotations = edges.axial_rotations(directions) if axial else edges.rotations(directions)
    return EdgeGeometry.of(radial, first, second, distances.to(dtype), rotations)
