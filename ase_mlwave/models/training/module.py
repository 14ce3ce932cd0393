"""What the training of all models shares: the network that is trained, and the average of its weights."""

from __future__ import annotations

from abc import abstractmethod
from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["TrainedModule"]


class TrainedModule(nn.Module):
    """Hold the network that is trained and the average of its weights.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.average: Any = deepcopy(network).requires_grad_(False)

    @cached_property
    def trained(self) -> list[nn.Parameter]:
        """Weights that are not frozen; listed once, on their device: a walk through all modules takes longer."""
        return [weight for weight in self.network.parameters() if weight.requires_grad]

    @cached_property
    def _averaged(self) -> list[nn.Parameter]:
        both = zip(self.average.parameters(), self.network.parameters(), strict=True)
        return [average for average, weight in both if weight.requires_grad]

    @abstractmethod
    def training_step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Give what is logged of a batch, ``"loss"`` (which is minimised) among it."""

    @abstractmethod
    def validation_step(self, network: Any, batch: Any) -> dict[str, Tensor]:
        """Give means over a batch: ``"loss"``, by which weights are chosen, and errors whose names end in a unit."""

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Replace the average by ``decay`` times itself plus the rest of the present weights.

        Notes
        -----
        Layers keep what they make of frozen weights until a weight's version changes (`PackedModule`), and kernels for
        lists of CUDA tensors do not count versions (``test_average_follows_kernels_that_count_no_versions``).
        """
        get_ema_multi_avg_fn(decay)(self._averaged, self.trained, 0)
        torch.autograd.graph.increment_version(self._averaged)
