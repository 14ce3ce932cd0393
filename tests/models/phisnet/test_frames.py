"""Frames of edges: rotations of features, and the order of their rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ase_mlwave.models.phisnet.frames import EdgeLayout, edge_rotations
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.quantum.ao_order import to_e3nn
from ase_mlwave.quantum.rotations import harmonics, wigner_matrices


def _directions() -> Tensor:
    """Give unit vectors along all axes, in planes, and random ones."""
    draw = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    special = torch.cat([torch.eye(3), -torch.eye(3), torch.tensor([[1.0, 1, 0], [1, 1, 1], [0, -1, 1]])]).double()
    return torch.nn.functional.normalize(torch.cat([special, draw]), dim=1)


def _in_irreps(rotation: Tensor, layout: OrderLayout) -> Tensor:
    """Represent orthogonal matrices (E, 3, 3) on features: natural parity follows the harmonics, the other det R."""
    axes = [1, 2, 0]
    matrices = wigner_matrices(rotation[:, axes][:, :, axes], layout.max_order)
    sign = torch.det(rotation)[:, None, None]
    return torch.stack(
        [
            torch.block_diag(*((matrices[l] * (1 if layout.is_natural((l, p)) else sign))[e] for l, p in layout.orders))
            for e in range(len(rotation))
        ]
    )


def _rotation(edges: EdgeLayout, directions: Tensor) -> Tensor:
    """Join the rotations of both parities, rows of the frame by m: (E, R, R)."""
    both = zip(*edges.rotations(directions), strict=True)
    return torch.stack([torch.block_diag(*parts) for parts in both])[:, edges.by_m]


def test_edge_rotations_carry_the_edge_to_the_pole() -> None:
    u = _directions()
    R = edge_rotations(u)
    torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R))
    torch.testing.assert_close(torch.det(R), torch.ones(len(u)).double())
    torch.testing.assert_close((R @ u[:, :, None])[:, :, 0], torch.eye(3).double()[2].expand_as(u))


@pytest.mark.parametrize("unnatural", [0, 2, 3])
def test_frame_rotations_are_orthogonal(unnatural: int) -> None:
    D = _rotation(EdgeLayout(OrderLayout(3, unnatural)), _directions())
    torch.testing.assert_close(D @ D.mT, torch.eye(D.shape[1]).double().expand_as(D))


@pytest.mark.parametrize("max_order", [0, 1, 4])
def test_harmonics_are_polar_rows(max_order: int) -> None:
    R = to_e3nn(to_e3nn(edge_rotations(_directions())).mT).mT  # both axes as e3nn's
    rows = torch.cat([D[:, D.shape[1] // 2] for D in wigner_matrices(R, max_order)], dim=1)
    torch.testing.assert_close(harmonics(R[:, 1], max_order), rows)


@pytest.mark.parametrize("unnatural", [0, 3])
def test_axial_rotations_are_the_first_rows(unnatural: int) -> None:
    edges, u = EdgeLayout(OrderLayout(4, unnatural)), _directions()
    rows, none = edges.axial_rotations(u)
    torch.testing.assert_close(rows, edges.rotations(u)[0][:, : edges.n_invariant])
    assert none.numel() == 0


def test_harmonics_have_one_component_in_the_frame() -> None:
    layout = OrderLayout(4, 3)
    u = _directions()
    R = edge_rotations(u)
    D = _rotation(EdgeLayout(layout), u)
    back = wigner_matrices(to_e3nn(to_e3nn(R).mT).mT.mT, 4)  # R^T carries the pole to the edge
    for l in range(5):
        harmonic = back[l][:, :, l]  # Y_l(u), as Y_l(pole) has m = 0 alone
        features = torch.zeros(len(u), layout.n_rows).double()
        features[:, layout.rows[(l, (-1) ** l)]] = harmonic
        framed = (D @ features[:, :, None])[:, :, 0]
        expected = torch.zeros_like(framed)
        expected[:, l] = 1.0
        torch.testing.assert_close(framed, expected)


@pytest.mark.parametrize("improper", [False, True])
def test_any_frame_of_an_edge_will_do(improper: bool) -> None:
    """Rotating molecule and features changes rows in the frame by the same matrix of O(2) for all orders of one m."""
    layout = OrderLayout(3, 3)
    edges = EdgeLayout(layout)
    u = _directions()
    Q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))[0]
    Q = Q * torch.det(Q) * (-1 if improper else 1)
    turned = _rotation(edges, u @ Q.T) @ _in_irreps(Q[None], layout) @ _rotation(edges, u).mT
    blocks = [edges.n_invariant, edges.n_pseudo, *(2 * w for w in edges.n_of_m)]
    start = 0
    outside = torch.ones(layout.n_rows, layout.n_rows, dtype=torch.bool)
    for block, width in enumerate(blocks):
        inside = turned[:, start : start + width, start : start + width]
        outside[start : start + width, start : start + width] = False
        if block < 2:
            sign = -1.0 if improper and block == 1 else 1.0
            torch.testing.assert_close(inside, sign * torch.eye(width).double().expand_as(inside))
        else:  # (cos, sin) x orders: a 2 x 2 matrix times the unit matrix
            small = inside.view(-1, 2, width // 2, 2, width // 2)
            common = small[:, :, 0, :, 0]
            expected = torch.einsum("eab,ij->eaibj", common, torch.eye(width // 2).double())
            torch.testing.assert_close(small, expected)
        start += width
    assert float(turned[:, outside].abs().max()) < 1e-12
