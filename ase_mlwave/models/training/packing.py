"""Batches in one piece of memory, so that one copy brings them to a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["PackedBatch"]

#: Bytes to whose multiples tensors are aligned, as those of an allocator are.
_ALIGNMENT = 64


class PackedBatch:
    """Hold a batch whose tensors, of whatever types, lie one behind the other.

    Parameters
    ----------
    batch : dataclass
        On the CPU; its tensors may be in mappings, tuples and dataclasses.
    device : torch.device
        Where it is needed. For a GPU the memory is pinned, so that the copy waits for nothing that the GPU is at; for
        the CPU there is none.
    """

    def __init__(self, batch: Any, device: torch.device) -> None:
        self.batch, self.device = batch, device
        self.memory: Tensor | None = None
        if device.type != "cpu":
            n_bytes = 0

            def count(tensor: Tensor) -> Tensor:
                nonlocal n_bytes
                n_bytes += _room(tensor)
                return tensor

            _map_tensors(batch, count)
            self.memory = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
            place = _Places(self.memory)
            _map_tensors(batch, lambda tensor: place(tensor).copy_(tensor))

    def unpack(self) -> Any:
        """Give the batch on its device: all tensors are views of one copy."""
        if self.memory is None:
            return self.batch
        return _map_tensors(self.batch, _Places(self.memory.to(self.device, non_blocking=True)))


class _Places:
    """View a piece of memory as one tensor after the other."""

    def __init__(self, memory: Tensor) -> None:
        self.memory, self.start = memory, 0

    def __call__(self, like: Tensor) -> Tensor:
        start, self.start = self.start, self.start + _room(like)
        return self.memory[start : start + like.nbytes].view(like.dtype).view(like.shape)


def _room(tensor: Tensor) -> int:
    return -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT


def _map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Replace all tensors by a function of each, in their order; all else stays."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: _map_tensors(one, function) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple(_map_tensors(one, function) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _map_tensors(getattr(value, f.name), function) for f in fields(value)})
    return value
