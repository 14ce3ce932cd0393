"""Dense layers with the fastest matrix product that torch has for them."""

from __future__ import annotations

import torch
from torch import Tensor
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
    Differentiable; the fast product is for float32 on the CPU where no gradient is wanted.
    """
    wants_gradient = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    fast = x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    if _ONEDNN is not None and fast and not wants_gradient:
        result: Tensor = _ONEDNN(x, weight, bias, "relu" if rectify else "none", [], "")
        return result
    result = functional.linear(x, weight, bias)
    return result.relu_() if rectify else result


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
    """
    live = x.detach().sum(dim=0).nonzero()[:, 0]
    if 4 * len(live) < 3 * x.shape[1]:
        x, weight = x.index_select(1, live), weight.index_select(1, live)
    return dense(x, weight, bias, rectify=True)
