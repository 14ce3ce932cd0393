"""Ways to evaluate functions whose rows are independent: keep what a derivative needs, or do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

__all__ = ["directly", "eagerly", "with_recomputation"]


def directly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; autograd keeps what it computes on the way."""
    return function(*arguments)


def with_recomputation(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; what it computes on the way is computed again for its derivative."""
    return checkpoint(function, *arguments, use_reentrant=False)


def eagerly(
    function: Callable[..., Tensor], *arguments: Tensor, by_hand: Callable[..., tuple[Tensor, Tensor]] | None = None
) -> Tensor:
    """Call a function and differentiate it at once; only its derivative is kept.

    Parameters
    ----------
    function : callable
        Of the arguments. Its result is broadcast with each of them: an element depends on those elements that it would
        be multiplied with, and on nothing else that is differentiated.
    *arguments : Tensor
        What is differentiated.
    by_hand : callable, optional
        Gives what ``function`` does, and its derivative with respect to the only argument.

    Returns
    -------
    Tensor
        As from ``function``.

    Notes
    -----
    Cheaper than recomputation, and everything on the way is still in the cache. Second derivatives are right, at the
    price of another evaluation (``test_frozen_network_has_second_derivatives``).
    """
    result: Tensor = _Eager.apply(function, by_hand, *arguments)  # type: ignore[no-untyped-call]
    return result


class _Eager(Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], by_hand: Any, *arguments: Tensor) -> Tensor:
        if by_hand is None:
            with torch.enable_grad():
                inside = [argument.detach().requires_grad_() for argument in arguments]
                result = function(*inside)
                slopes = torch.autograd.grad(result.sum(), inside)
        else:
            result, *slopes = by_hand(*arguments)
        ctx.function = function
        ctx.save_for_backward(*arguments, *slopes)
        return result.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # asked for once: a block that is recomputed gives them once
        half = len(saved) // 2
        arguments, slopes = saved[:half], saved[half:]
        if torch.is_grad_enabled():
            return None, None, *torch.autograd.grad(ctx.function(*arguments), arguments, gradient, create_graph=True)
        return None, None, *(slope * gradient for slope in slopes)
