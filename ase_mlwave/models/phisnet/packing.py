"""What layers compute from their weights before they use them: made anew in training, kept while weights are frozen."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PackedModule"]


class PackedModule(nn.Module):
    """A layer that brings its weights into the form that few large operations take.

    Names and shapes of the weights, which model folders and checkpoints hold, stay as they are.
    """

    _kept: tuple[tuple[tuple[Tensor, int], ...], Any] | None = None

    @abstractmethod
    def pack(self) -> Any:
        """Bring the present weights into the form that `forward` takes; differentiable with respect to them."""

    @property
    @abstractmethod
    def packed_from(self) -> tuple[Tensor, ...]:
        """The weights from which `pack` computes."""

    def packed(self) -> Any:
        """Give the weights packed; those of a frozen network once only, until they change in place."""
        if torch.compiler.is_compiling():
            return self.pack()
        if self._kept is not None and not any(w.requires_grad or w._version != v for w, v in self._kept[0]):
            return self._kept[1]
        sources = self.packed_from
        if any(w.requires_grad or w.is_inference() for w in sources):
            return self.pack()
        with torch.inference_mode(mode=False), torch.no_grad():
            self._kept = (tuple((w, w._version) for w in sources), self.pack())
        return self._kept[1]

    def forget(self) -> None:
        """Pack again at the next use, after weights were replaced."""
        self._kept = None

    def _apply(self, *arguments: Any, **options: Any) -> Any:
        self.forget()
        return super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}
