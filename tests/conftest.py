"""What all tests share; GPU tests are skipped where there is no CUDA device."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.calculators.contract")


@pytest.fixture
def morse_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the zoo and the command line know the tests' own kind of model, see ``tests/calculators/morse.py``."""
    from ase_mlwave import plugin
    from ase_mlwave.models import config as model_config

    home = "tests.calculators.morse"
    monkeypatch.setitem(model_config.KINDS, "test-morse", (f"{home}:MorseNetwork", f"{home}:MorseConfig"))
    monkeypatch.setitem(plugin.CALCULATORS, "test-morse", f"{home}.MorseCalculator")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
