from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import pyscf.scf  # noqa: F401  (loads the libraries that the limit is for)
import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep to one thread: for molecules of a few atoms more only cost time, minutes where the cores are busy."""
    if find_spec("tblite") is not None:
        import_module("tblite.ase")
    with threadpool_limits(limits=1):
        yield
