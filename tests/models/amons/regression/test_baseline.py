"""Dressed and free atoms."""

from __future__ import annotations

import numpy as np
import pytest

from ase_mlwave.models.amons.regression.baseline import atomic_baseline, compositions, lost_freedom

FREE = {1: -0.5, 6: -37.8, 8: -75.0}
METHANE, WATER, METHANOL = [6, 1, 1, 1, 1], [8, 1, 1], [6, 8, 1, 1, 1, 1]


def test_atoms_are_counted() -> None:
    counts = compositions([METHANE, WATER, METHANOL], [1, 6, 8])
    np.testing.assert_array_equal(counts, [[4, 1, 0], [2, 0, 1], [4, 1, 1]])


def test_dressed_atoms_are_found() -> None:
    counts = compositions([METHANE, WATER, METHANOL], [1, 6, 8])
    dressed = np.array([-0.6, -38.0, -75.3])
    np.testing.assert_allclose(atomic_baseline(counts, counts @ dressed, {}, [1, 6, 8]), dressed, rtol=1e-12)


def test_free_atoms_stand_in_where_compositions_depend_on_each_other() -> None:
    counts = compositions([METHANE, METHANE, WATER], [1, 6, 8])
    energies = counts @ np.array([-0.6, -38.0, -75.3])
    baseline = atomic_baseline(counts, energies, FREE, [1, 6, 8], completed=False)
    np.testing.assert_array_equal(baseline, [-0.5, -37.8, -75.0])
    completed = atomic_baseline(counts, energies, FREE, [1, 6, 8])
    np.testing.assert_allclose(counts @ completed, energies, atol=1e-10)
    assert 0 < np.abs(completed - baseline).max() < 0.5


def test_missing_free_atoms_are_named() -> None:
    counts = compositions([METHANE], [1, 6])
    with pytest.raises(ValueError, match=r"1 training molecules do not determine .* 2 kinds .* of C are not given"):
        atomic_baseline(counts, np.array([-40.5]), {1: -0.5}, [1, 6])


def test_fitted_baseline_takes_freedom() -> None:
    energies = np.random.default_rng(0).normal(size=(2000, 5))
    counts = np.array([[4.0, 1], [6, 2], [4, 2], [8, 3], [2, 2]])
    left = energies - energies @ counts @ np.linalg.pinv(counts)
    assert (left**2).mean() * lost_freedom(counts) == pytest.approx((energies**2).mean(), rel=0.05)
    copies = np.repeat(counts, 7, axis=0)
    assert lost_freedom(copies) == lost_freedom(counts) == 5 / 3
    assert lost_freedom(counts[:1]) == 1
    assert lost_freedom(counts[:2]) == 2
