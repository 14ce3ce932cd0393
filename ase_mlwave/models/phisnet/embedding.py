"""Atom embedding: a vector per element, and one that elements share through their electron configurations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.orders import OrderLayout

__all__ = ["ElementEmbedding", "electron_configuration"]

#: Subshells in Madelung's order, (n, l).
_SUBSHELLS = tuple(sorted(((n, l) for n in range(1, 8) for l in range(min(n, 4))), key=lambda s: (s[0] + s[1], s[0])))


def electron_configuration(number: int) -> tuple[int, ...]:
    """Fill the subshells of a neutral atom by Madelung's rule: occupations of 1s, 2s, 2p, 3s, 3p, 4s, 3d..."""
    remaining, occupations = number, []
    for _, l in _SUBSHELLS:
        n = min(remaining, 2 * (2 * l + 1))
        occupations.append(n)
        remaining -= n
    return tuple(occupations)


class ElementEmbedding(nn.Module):
    """Turn atomic numbers into initial features: invariants from the element, all other orders zero.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels.
    numbers : sequence of int
        Atomic numbers of the model's elements.

    Notes
    -----
    x_0 = W[Z] + V (electron configuration of Z). Source: Unke et al. 2021, embedding.
    """

    def __init__(self, layout: OrderLayout, features: int, numbers: Sequence[int]) -> None:
        super().__init__()
        self.n_rows = layout.n_rows
        configurations = torch.tensor([electron_configuration(z) for z in numbers], dtype=torch.float32)
        used = configurations.amax(dim=0) > 0
        capacity = torch.tensor([2.0 * (2 * l + 1) for _, l in _SUBSHELLS])
        self.element = nn.Embedding(len(numbers), features)
        self.shared = nn.Linear(int(used.sum()), features, bias=False)
        self.register_buffer("configurations", (configurations / capacity)[:, used], persistent=False)

    def forward(self, element: Tensor) -> Tensor:
        """Map indices of elements (N,) to features (R, N, F)."""
        configurations: Tensor = self.configurations  # type: ignore[assignment]
        shared = self.shared(configurations.to(self.shared.weight.dtype))  # (elements, F)
        scalars = (self.element.weight + shared).index_select(0, element)
        return nn.functional.pad(scalars[None], (0, 0, 0, 0, 0, self.n_rows - 1))
