"""`torch.compile` for the layers of a network, where it works."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from ase_mlwave.models.phisnet.model import PhiSNet

__all__ = ["compile_layers"]


def compile_layers(network: PhiSNet, compiled: bool = True, **options: Any) -> None:
    """Let `torch.compile` compile the layers of a network at their next use, in place.

    Parameters
    ----------
    network : PhiSNet
        Weights and their names stay as they are; copies and pickles are not compiled.
    compiled : bool
        False lets the layers run as they are again.
    **options
        Of `torch.compile`: ``backend``, ``fullgraph``...

    Warns
    -----
    RuntimeWarning
        Once, where compiling fails (no compiler, for one): the layers then run as they are.

    Notes
    -----
    Gives first derivatives only. Geometry and heads, which are float64 and wait for nothing, are not compiled:
    the whole network took more than 400 CPU-seconds. Laws: ``test_compiled_layers_give_the_same_numbers``,
    ``test_layers_run_where_compiling_fails``.
    """
    parts = (network, *network.others, network.energy_features)
    layers = [layer for part in parts if part is not None for layer in part.layers()]
    layers += [] if network.pair_features is None else [network.pair_features]
    for layer in layers:
        layer._compiled_call_impl = None
        if compiled:
            layer.compile(**{"dynamic": True, **options})
            layer._compiled_call_impl = _or_as_it_is(layer, layers)


def _or_as_it_is(layer: nn.Module, layers: list[nn.Module]) -> Callable[..., Any]:
    """Call what is compiled of a layer; where that fails but the layer itself does not, none of them any more."""
    compiled: Callable[..., Any] = layer._compiled_call_impl  # type: ignore[assignment]

    def call(*inputs: Any) -> Any:
        try:
            return compiled(*inputs)
        except Exception as error:
            result = layer._call_impl(*inputs)
            for each in layers:
                each._compiled_call_impl = None
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"torch.compile failed, layers run as they are: {reason}", RuntimeWarning, stacklevel=3)
            return result

    return call
