"""Stacks of matrices: to and fro, and what padding holds."""

from __future__ import annotations

import pytest
import torch

from ase_mlwave.quantum.stacks import Stacks

CPU = torch.device("cpu")


@pytest.mark.parametrize("sizes", [(3,), (4, 4, 4), (1, 20, 19, 7, 20, 2)])
def test_stacks_and_back(sizes: tuple[int, ...]) -> None:
    matrices = [torch.randn(m, m, dtype=torch.float64) for m in sizes]
    flat = torch.cat([matrix.reshape(-1) for matrix in matrices])
    plan = Stacks.of(sizes, CPU)
    stacked = plan.stack(flat)
    torch.testing.assert_close(plan.flatten(stacked), flat, rtol=0, atol=0)
    torch.testing.assert_close(plan.sums(flat), torch.stack([matrix.sum() for matrix in matrices]))
    rows = plan.flatten_rows([part.sum(-1) for part in stacked])
    torch.testing.assert_close(rows, torch.cat([matrix.sum(-1) for matrix in matrices]))
    assert sorted(b for stack in plan.stacks for b in stack.members) == list(range(len(sizes)))
    for part, stack in zip(stacked, plan.stacks, strict=True):
        for matrix, b in zip(part, stack.members, strict=True):
            torch.testing.assert_close(matrix[: sizes[b], : sizes[b]], matrices[b], rtol=0, atol=0)
            assert float(matrix.abs().sum()) == pytest.approx(float(matrices[b].abs().sum()))


def test_padding_is_limited() -> None:
    """On a GPU fewer, fuller stacks."""
    sizes = (100, 95, 91, 89, 70, 61, 20)
    assert [stack.members for stack in Stacks.of(sizes, CPU).stacks] == [(0, 1, 2), (3,), (4,), (5,), (6,)]
    assert [stack.members for stack in Stacks.of(sizes, torch.device("meta")).stacks] == [(0, 1, 2, 3, 4, 5), (6,)]
