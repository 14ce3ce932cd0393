"""Where a network keeps full precision although its layers multiply in less."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

__all__ = ["full_precision"]


def full_precision(device: str) -> AbstractContextManager[Any]:
    """Suspend autocasting, where there is any: it is for the layers, not for geometry and results."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
