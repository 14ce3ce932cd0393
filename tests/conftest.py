"""What all tests share; GPU tests are skipped where there is no CUDA device."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.calculators.contract")


@pytest.fixture
def morse_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package know the tests' own kind of model, see ``tests/calculators/morse.py``."""
    from ase_mlwave.models.kinds import KINDS
    from tests.calculators.morse import KIND

    monkeypatch.setitem(KINDS, KIND.name, KIND)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
