"""`torch.compile` as an option: the same numbers, and none of it where compiling fails."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from ase_mlwave.models.phisnet.compiling import compile_layers
from ase_mlwave.models.phisnet.model import PhiSNet
from tests.models.phisnet.systems import assert_equal, geometry, joined, network

#: Tracing looks at gradients of inputs that have none.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


def _network() -> PhiSNet:
    return network(
        "edge_frame", max_order=2, max_unnatural_order=1, elements=("H",), overlap_head=False, core_head=False
    )


def _results(model: PhiSNet, symbols: str) -> tuple[Tensor, ...]:
    """Give H, and derivatives of its squares with respect to positions and weights."""
    batch = joined([geometry(symbols)], model.config.cutoff)
    batch = batch.at(batch.positions.clone().requires_grad_())
    hamiltonian = model(batch).hamiltonian.flat
    weights = (model.pair_features.mixing.gates.weight, model.interactions[0].linear.weight)
    gradients = torch.autograd.grad(hamiltonian.square().sum(), (batch.positions, *weights))
    return hamiltonian.detach(), *gradients


@pytest.mark.slow
def test_compiled_layers_give_the_same_numbers() -> None:
    model = _network()
    compiled = deepcopy(model)
    compile_layers(compiled, backend="aot_eager", fullgraph=True)
    for symbols in ("HHH", "HHHH"):
        for a, b in zip(_results(model, symbols), _results(compiled, symbols), strict=True):
            assert_equal(a, b)


def test_layers_of_energies_are_compiled_too() -> None:
    model = network("edge_frame", elements=("H",), energy_from="atoms", energy_cutoff=6.0)
    called = []

    def backend(graph: Any, inputs: Any) -> Any:
        called.append(graph)
        return graph.forward

    assert model.energy_features is not None
    compile_layers(model, backend=backend)
    layers = model.energy_features.layers()
    assert all(layer._compiled_call_impl is not None for layer in layers)
    batch = joined([geometry("HH")], model.config.cutoff)
    model.atomic_energies(batch)
    assert called


def test_layers_run_where_compiling_fails() -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler here")

    model = _network()
    expected = _results(model, "HH")
    compile_layers(model, backend=broken)
    with pytest.warns(RuntimeWarning, match="torch.compile failed") as caught:
        assert_equal(_results(model, "HH")[0], expected[0])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal(_results(model, "HHH")[0], _results(_network(), "HHH")[0])
