"""The layout of equivariant features: which orders and parities stand in which rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor, nn

__all__ = ["Order", "OrderLayout", "with_rows"]

Order = tuple[int, int]
"""(l, parity), parity +1 or -1 under inversion."""


@dataclass(frozen=True)
class OrderLayout:
    """Rows of a feature tensor (R, N, F): natural orders 0..max_order, then unnatural ones 1..max_unnatural.

    Parameters
    ----------
    max_order : int
        Largest order of natural parity, (-1)^l.
    max_unnatural : int
        Largest order of unnatural parity; 0 for none. There are no pseudoscalars: no matrix block needs them.
    """

    max_order: int
    max_unnatural: int

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """All (l, parity), in the order of their rows."""
        natural = [(l, (-1) ** l) for l in range(self.max_order + 1)]
        unnatural = [(l, -((-1) ** l)) for l in range(1, self.max_unnatural + 1)]
        return tuple(natural + unnatural)

    @cached_property
    def n_rows(self) -> int:
        """R, the number of components of all orders."""
        return sum(2 * l + 1 for l, _ in self.orders)

    @cached_property
    def rows(self) -> dict[Order, slice]:
        """Rows of every order."""
        result, start = {}, 0
        for order in self.orders:
            width = 2 * order[0] + 1
            result[order] = slice(start, start + width)
            start += width
        return result

    @cached_property
    def order_of_row(self) -> Tensor:
        """Index into ``orders`` of every row, (R,)."""
        return torch.tensor([i for i, (l, _) in enumerate(self.orders) for _ in range(2 * l + 1)])

    @property
    def n_natural(self) -> int:
        """Rows of natural parity, which come first."""
        return (self.max_order + 1) ** 2

    def n_orders(self, n_rows: int) -> int:
        """Count the orders of the first rows."""
        return list(accumulate(2 * l + 1 for l, _ in self.orders)).index(n_rows) + 1

    def is_natural(self, order: Order) -> bool:
        """Say whether the parity is (-1)^l."""
        return order[1] == (1 if order[0] % 2 == 0 else -1)


def with_rows(x: Tensor, n_rows: int) -> Tensor:
    """Fill up features (R', N, F), of which the first orders alone are not zero, to (n_rows, N, F)."""
    return x if len(x) == n_rows else nn.functional.pad(x, (0, 0, 0, 0, 0, n_rows - len(x)))
