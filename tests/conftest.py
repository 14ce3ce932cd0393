"""What all tests share; GPU tests are skipped where there is no CUDA device."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.calculators.contract")


@pytest.fixture(autouse=True, scope="session")
def _no_data_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests, and the processes that they start, away from labels that the user's queries share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def morse_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package know the tests' own kind of model, see ``tests/calculators/morse.py``."""
    from ase_mlwave.models.kinds import KINDS
    from tests.calculators.morse import KIND

    monkeypatch.setitem(KINDS, KIND.name, KIND)


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Leave out learning curves, which take longer than tiny runs; ``cli/test_train.py`` and others draw them."""
    from ase_mlwave.models.training import loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "draw_learning_curve", lambda metrics, picture: None)
        yield


@pytest.fixture
def meta() -> Iterator[str]:
    """Give the device that holds no data; tables kept for it are not those of tests that only pretend it."""
    _forget_tables()
    yield "meta"
    _forget_tables()


def _forget_tables() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("ase_mlwave."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
