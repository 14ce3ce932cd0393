"""How unlike the training data an atom is."""

from __future__ import annotations

import torch

from ase_mlwave.models.phisnet.domain import DomainDistance


def test_domain_distance_grows_outside() -> None:
    """About one for the atoms it was fitted on, however they correlate, and proportional to a step out of them."""
    generator = torch.Generator().manual_seed(4)
    mixing = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    inside = torch.randn(400, 6, dtype=torch.float64, generator=generator) @ mixing + 3.0
    element = torch.arange(400) % 2
    inside[element == 1] *= 5.0
    domain = DomainDistance(2, 6)
    assert not domain(inside, element).any()
    domain.fit([(inside, element)])
    distances = domain(inside, element)
    assert 0.9 < float(distances.square().mean()) < 1.1
    assert float(distances.max()) < 3.0
    step = torch.randn(1, 6, dtype=torch.float64, generator=generator) * 100
    near, far = (float(domain(inside[:1] + scale * step, element[:1])) for scale in (1.0, 2.0))
    assert near > 5.0
    assert 1.8 < far / near < 2.2


def test_elements_have_their_own_domain() -> None:
    generator = torch.Generator().manual_seed(4)
    element = torch.arange(100) % 2
    inside = torch.randn(100, 4, dtype=torch.float64, generator=generator) + 20.0 * element[:, None]
    domain = DomainDistance(2, 4)
    domain.fit([(inside, element)])
    assert float(domain(inside, element).max()) < 3.0
    assert float(domain(inside, 1 - element).min()) > 5.0


def test_distance_has_no_gradient() -> None:
    domain = DomainDistance(1, 3)
    assert not domain(torch.ones(2, 3, requires_grad=True), torch.zeros(2, dtype=torch.int64)).requires_grad
