"""A wider network starts where a narrower one stopped."""

from __future__ import annotations

import pytest
import torch

from ase_mlwave.models.phisnet.widening import widened
from tests.models.phisnet.systems import MATRICES, assert_equal, geometry, joined, matrices, network, predict, settings


@pytest.mark.parametrize(("features", "hidden"), [(16, 16), (8, 24), (24, 8)])
def test_a_widened_network_predicts_the_same(features: int, hidden: int) -> None:
    narrow, molecules = network("edge_frame"), (geometry("OCHH"), geometry("HOH", 3))
    wide = widened(narrow, settings("edge_frame", features=features, hidden=hidden))
    assert (wide.config.features, wide.config.hidden) == (features, hidden)
    before, after = predict(narrow, *molecules), predict(wide, *molecules)
    for name in MATRICES:
        for old, new in zip(matrices(before, name), matrices(after, name), strict=True):
            assert_equal(new, old)
    assert_equal(after.atomic_energies, before.atomic_energies)


def test_copies_of_a_channel_learn_different_things() -> None:
    wide = widened(network("edge_frame"), settings("edge_frame", features=16, hidden=16))
    wide(joined([geometry("OCHH")], wide.config.cutoff)).hamiltonian.flat.square().mean().backward()
    gradient = wide.interactions[0].linear.weight.grad  # type: ignore[union-attr, operator]
    assert isinstance(gradient, torch.Tensor)
    first, second = gradient[..., ::2], gradient[..., 1::2]
    assert float((first - second).abs().max()) > 1e-3 * float(first.abs().max())


@pytest.mark.parametrize(
    ("product", "changes"),
    [("edge_frame", {}), ("edge_frame", {"features": 12, "hidden": 12}), ("clebsch_gordan", {"features": 16})],
)
def test_what_cannot_be_widened_stays(product: str, changes: dict[str, int]) -> None:
    narrow = network(product)
    assert widened(narrow, settings(product, **changes)) is narrow
