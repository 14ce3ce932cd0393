"""Bound what a network allocates while it is built, by what its file holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["AllocationBudget"]

#: What makes tensors from a size alone.
_FROM_SIZE = frozenset(
    {torch.empty, torch.ones, torch.rand, torch.randn, torch.zeros, torch.Tensor.new_empty, torch.Tensor.new_ones}
    | {torch.Tensor.new_zeros}
)


class AllocationBudget(TorchFunctionMode):
    """Refuse, before it is made, the tensor with which the elements made in a ``with`` block exceed a number.

    Parameters
    ----------
    n_elements : int
        Of all tensors that are made from sizes (`torch.zeros`, `torch.randn`, ...) together.

    Raises
    ------
    ValueError
        In the block.

    Notes
    -----
    Differs from building on PyTorch's device ``meta``: constants are computed, and caches filled, as always.
    """

    def __init__(self, n_elements: int) -> None:
        super().__init__()
        self.left = n_elements

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Count what is about to be made."""
        if func in _FROM_SIZE or func is torch.full:
            self.left -= _n_elements(args[:1] if func is torch.full else args, kwargs or {})
            if self.left < 0:
                raise ValueError("they ask for more numbers than the file of weights holds")
        return func(*args, **(kwargs or {}))


def _n_elements(args: Sequence[Any], options: Mapping[str, Any]) -> int:
    """Multiply the sizes out, given one by one or as a sequence."""
    sizes = [size for size in (*args, options.get("size", ())) if not isinstance(size, torch.Tensor)]
    flat = [one for size in sizes for one in (size if isinstance(size, Sequence) else (size,))]
    return prod(int(size) for size in flat)
