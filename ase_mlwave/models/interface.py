"""What the package asks of the parts of any kind of model; they fit by their shape, and derive from nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import torch

__all__ = ["Network", "NetworkSettings"]


class NetworkSettings(Protocol):
    """What a network is made from: a pydantic model, which makes it again from ``config.json``."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that the model knows."""

    @property
    def level(self) -> str:
        """Level of theory of the training data; any words will do for data from elsewhere."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return the settings as JSON has them."""


class Network(Protocol):
    """A torch module made from its settings alone; what it learned is in its ``state_dict``, as finite numbers.

    How it computes is between it and the calculator of its kind, which says how unlike the training data a structure is
    in ``calc.extras`` under the names of ``thresholds`` and ``limits`` in the model's description.
    """

    @property
    def config(self) -> NetworkSettings:
        """The settings it was made from."""

    def cast(self, dtype: torch.dtype) -> Self:
        """Set the precision in place, of what may be less than float64."""

    def state_dict(self) -> dict[str, Any]:
        """Return name -> tensor."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take over such tensors; raise ``ValueError`` where their values make no model."""

    def named_parameters(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        """Return the tensors whose precision is that of the model."""

    def to(self, device: torch.device | str) -> Self:
        """Move it."""

    def eval(self) -> Self:
        """Set it to predictions."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let its parameters be learned, or not."""
