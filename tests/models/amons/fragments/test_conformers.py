from __future__ import annotations

import time

import numpy as np
import pytest

from ase_mlwave.models.amons.fragments.conformers import ConformerSet, geometry_fingerprint, most_different
from ase_mlwave.units import BOHR


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_fingerprint_does_not_see_rotation_and_order(rng: np.random.Generator) -> None:
    positions = rng.normal(size=(7, 3)) * 3
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    moved = (positions @ rotation + 5.0)[rng.permutation(7)]
    np.testing.assert_allclose(geometry_fingerprint(moved), geometry_fingerprint(positions), rtol=1e-12)
    two = np.array([(0.0, 0.0, 0.0), (2.0 / BOHR, 0.0, 0.0)])
    np.testing.assert_allclose(geometry_fingerprint(two), [0.5, 0.5], rtol=1e-12)


def test_set_finds_what_comparing_with_all_finds(rng: np.random.Generator) -> None:
    base = rng.normal(size=(6, 3)) * 3
    geometries = [base + rng.normal(size=(6, 3)) * 0.01 for _ in range(200)]
    conformers, kept = ConformerSet(), []
    for positions in geometries:
        fingerprint = geometry_fingerprint(positions)
        new = all(np.abs(fingerprint - other).sum() > 0.01 for other in kept)
        assert conformers.add(positions) == new
        if new:
            kept.append(fingerprint)
    assert 1 < len(kept) < 200


def test_time_does_not_grow_as_the_square(rng: np.random.Generator) -> None:
    def seconds(n: int) -> float:
        geometries = rng.normal(size=(n, 6, 3)) * 3
        conformers = ConformerSet()
        start = time.thread_time()
        for positions in geometries:
            conformers.add(positions)
        return time.thread_time() - start

    seconds(100)
    assert seconds(4000) < 10 * seconds(1000)  # 16 where each is compared with each


def test_most_different_takes_the_ends_first() -> None:
    line = np.array([[0.0], [0.1], [1.0], [0.6]])
    assert most_different(line, 2) == [0, 2]
    assert most_different(line, 3) == [0, 2, 3]
    assert most_different(line, 9) == [0, 1, 2, 3]
