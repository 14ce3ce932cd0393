"""Record today's figures: ``python -m tests.golden.record [NAME ...]``; only where they are meant to change."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.golden.figures import FIGURES

PATH = Path(__file__).parent / "figures.npz"


def stored() -> dict[str, np.ndarray]:
    """Return all recorded arrays, named ``figure/array``."""
    with np.load(PATH, allow_pickle=False) as file:
        return dict(file)


def record(names: list[str]) -> None:
    kept = stored() if PATH.exists() and names else {}
    for name in names or list(FIGURES):
        kept = {key: array for key, array in kept.items() if not key.startswith(f"{name}/")}
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = FIGURES[name](Path(folder))
        kept |= {f"{name}/{key}": np.asarray(array) for key, array in found.items()}
        print(f"{name}: {len(found)} arrays, {time.perf_counter() - start:.1f} s", flush=True)
    np.savez_compressed(PATH, **kept)


if __name__ == "__main__":
    record(sys.argv[1:])
