"""The layout of features."""

from __future__ import annotations

from ase_mlwave.models.phisnet.orders import OrderLayout


def test_layout_has_natural_orders_first() -> None:
    layout = OrderLayout(2, 1)
    assert layout.orders == ((0, 1), (1, -1), (2, 1), (1, 1))
    assert layout.n_rows == 12
    assert layout.rows == {(0, 1): slice(0, 1), (1, -1): slice(1, 4), (2, 1): slice(4, 9), (1, 1): slice(9, 12)}
    assert layout.order_of_row.tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3]


def test_there_are_no_pseudoscalars() -> None:
    assert (0, -1) not in OrderLayout(4, 4).orders
    assert OrderLayout(3, 0).orders == ((0, 1), (1, -1), (2, 1), (3, -1))


def test_natural_parity_is_that_of_the_harmonics() -> None:
    layout = OrderLayout(3, 3)
    assert [layout.is_natural(order) for order in layout.orders] == [True] * 4 + [False] * 3
