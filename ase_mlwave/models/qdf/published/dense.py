"""Dense layers with the fastest matrix product that torch has for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["dense", "rectified_dense"]

#: oneDNN's product with bias and ReLU in one pass, as torch's own compiler uses it. On AMD processors it takes half the
#: time of ``torch.nn.functional.linear``, which calls MKL. Not part of torch's documented interface: absent is fine.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, rectify: bool = False) -> Tensor:
    """Compute x W^T + b, and where asked for its positive part.

    Parameters
    ----------
    x : Tensor, (G, n)
        Inputs.
    weight : Tensor, (m, n)
        W.
    bias : Tensor, (m,), optional
        b.
    rectify : bool
        Whether negative results become zero.

    Returns
    -------
    Tensor, (G, m)

    Notes
    -----
    Differentiable; where the fast product serves (float32 on the CPU), only once.
    """
    if _ONEDNN is None or x.dtype != torch.float32 or x.device.type != "cpu" or x.numel() == 0:
        plain = functional.linear(x, weight, bias)
        return plain.relu_() if rectify else plain
    tensors = [tensor for tensor in (x, weight, bias) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        followed: Tensor = _FastDense.apply(x, weight, bias, rectify)  # type: ignore[no-untyped-call]
        return followed
    return _product(x, weight, bias, rectify)


def rectified_dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a layer and its ReLU to inputs that are not negative, leaving out columns that are zero in all rows.

    Parameters
    ----------
    x : Tensor, (G, n)
        What another ReLU gave.
    weight, bias : Tensor, (m, n) and (m,)
        Of the layer.

    Returns
    -------
    Tensor, (G, m)

    Notes
    -----
    Exact: such a column adds nothing, and no gradient passes the ReLU that made it
    (``test_dead_columns_change_neither_energy_nor_gradient``). In the published model two columns of three are dead.
    On a GPU, which would wait for their number, they are kept.
    """
    if x.device.type != "cpu":
        return dense(x, weight, bias, rectify=True)
    live = x.detach().sum(dim=0).nonzero()[:, 0]
    if 4 * len(live) < 3 * x.shape[1]:
        x, weight = x.index_select(1, live), weight.index_select(1, live)
    return dense(x, weight, bias, rectify=True)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, rectify: bool = False) -> Tensor:
    """Call oneDNN."""
    assert _ONEDNN is not None
    result: Tensor = _ONEDNN(x, weight, bias, "relu" if rectify else "none", [], "")
    return result


class _FastDense(Function):
    """oneDNN's product with its derivative, which consists of two more of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rectify: bool) -> Tensor:
        result = _product(x, weight, bias, rectify)
        ctx.save_for_backward(x, weight, result if rectify else None)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, positive = ctx.saved_tensors
        if positive is not None:
            gradient = gradient * (positive > 0)
        for_x = _product(gradient, weight.T) if ctx.needs_input_grad[0] else None
        for_weight = _product(gradient.T, x.T) if ctx.needs_input_grad[1] else None
        return for_x, for_weight, gradient.sum(dim=0) if ctx.needs_input_grad[2] else None, None
