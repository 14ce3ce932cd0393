"""Coupled coefficients and matrix blocks, and their way into and out of whole matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ase_mlwave.models.phisnet.assembly import AOPlan, Assembly, MatrixBatch
from ase_mlwave.models.phisnet.blocks import BlockHead, HeadGroup, block_coefficients, block_sources, coupled_basis
from ase_mlwave.models.phisnet.moments import Moments
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.quantum.ao_order import couplings
from ase_mlwave.quantum.basis import n_functions, shells
from tests.models.phisnet.systems import geometry, joined


def _draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(("first", "second"), [(1, 1), (8, 1), (1, 8), (8, 8)])
def test_coupled_basis_is_orthogonal(first: int, second: int) -> None:
    shells_1, shells_2 = shells("def2-svp", first), shells("def2-svp", second)
    orders, matrix = coupled_basis(shells_1, shells_2)
    size = n_functions("def2-svp", first) * n_functions("def2-svp", second)
    flat = matrix.reshape(size, size)
    torch.testing.assert_close(flat @ flat.T, torch.eye(size).double())
    assert sorted(orders) == sorted(o for l1 in shells_1 for l2 in shells_2 for o in couplings(l1, l2))
    blocks = _draw(3, n_functions("def2-svp", first), n_functions("def2-svp", second))
    rebuilt = torch.einsum("nc,cab->nab", block_coefficients(blocks, matrix), matrix)
    torch.testing.assert_close(rebuilt, blocks)


def _moments(head: BlockHead, blocks: torch.Tensor) -> Moments:
    moments = Moments()
    for part in blocks.split(7):
        moments.add(head.coefficients(part))
    return moments


def test_statistics_give_coefficients_of_order_one() -> None:
    head = BlockHead(OrderLayout(4, 3), 8, "def2-svp", 8, 1)
    blocks = 0.03 * _draw(500, *head.shape) + 0.2
    head.fit_statistics(_moments(head, blocks))
    coefficients = block_coefficients(blocks, head.matrix.view(-1, *head.shape))  # type: ignore[operator]
    scaled = (coefficients - head.shift) / head.scale  # type: ignore[operator]
    start = 0
    for l, parity in head.orders:
        part = scaled[:, start : start + 2 * l + 1]
        assert float(part.square().mean()) == pytest.approx(1.0, abs=1e-9)
        if (l, parity) == (0, 1):
            assert float(part.mean()) == pytest.approx(0.0, abs=1e-9)
        else:
            assert not head.shift[start : start + 2 * l + 1].any()  # type: ignore[index]
        start += 2 * l + 1


def test_scale_has_a_floor() -> None:
    head = BlockHead(OrderLayout(4, 3), 8, "def2-svp", 1, 1)
    head.fit_statistics(_moments(head, torch.ones(4, *head.shape, dtype=torch.float64)), floor=1e-2)
    assert float(head.scale.min()) == 1e-2  # type: ignore[operator]


def test_shift_fades_with_the_cutoff() -> None:
    layout = OrderLayout(4, 3)
    head = BlockHead(layout, 8, "def2-svp", 1, 1)
    head.fit_statistics(_moments(head, _draw(20, *head.shape) + 1.0))
    heads, nothing = HeadGroup([head]), torch.zeros(layout.n_rows, 2, 8)
    blocks = heads([nothing], torch.tensor([1.0, 0.0]), block_sources([head], [2])).view(2, *head.shape)
    assert blocks.dtype == torch.float64
    assert not blocks[1].detach().any()
    assert float(blocks[0].detach().abs().max()) > 0.1


def test_extract_is_the_way_back_of_assemble() -> None:
    batch = joined([geometry("OHH", 1), geometry("H", 2), geometry("COH", 3)], 20.0)
    plan = AOPlan(batch, {z: n_functions("def2-svp", z) for z in (1, 6, 8)})
    assert plan.sizes == (24, 5, 33)
    full = [_draw(m, m) for m in plan.sizes]
    flat = torch.cat([(m + m.T).reshape(-1) for m in full])
    blocks, places = [], []
    for i in range(len(batch.numbers)):
        for j in range(len(batch.numbers)):
            if batch.system[i] == batch.system[j]:
                shape = tuple(n_functions("def2-svp", int(batch.numbers[k])) for k in (i, j))
                places.append((torch.tensor([i]), torch.tensor([j]), (shape[0], shape[1])))
                blocks.append(plan.extract(flat, *places[-1]).flatten())
    rebuilt = Assembly.of(plan, places)(torch.cat(blocks))
    torch.testing.assert_close(rebuilt.flat, flat)
    assert [m.shape[0] for m in rebuilt.matrices()] == [24, 5, 33]


def test_matrices_of_different_sizes_do_not_stack() -> None:
    same = MatrixBatch(torch.arange(8.0), (2, 2))
    assert same.stack().shape == (2, 2, 2)
    with pytest.raises(ValueError, match=r"sizes \[1, 2\] cannot be stacked"):
        MatrixBatch(torch.zeros(5), (1, 2)).stack()
