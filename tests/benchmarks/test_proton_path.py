"""The path of malonaldehyde's proton: its ends, and which geometries are near it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.units import Bohr

from ase_mlwave.data.record import Record
from benchmarks import proton_path
from benchmarks.proton_path import coordinate, near, transfer

NUMBERS = np.array([1, 1, 1, 1, 6, 6, 6, 8, 8])
#: Atoms of the ring and its hydrogens, Angstrom, roughly; the proton is at the last oxygen.
_PLACES = [
    (2.2, 0.6),
    (-2.2, 0.6),
    (0.5, -1.5),
    (0, 2.4),
    (1.2, 0.7),
    (0, 1.3),
    (-1.2, 0.7),
    (-1.25, -0.6),
    (1.3, -0.7),
]
MINIMUM = np.array([(x, y, 0.0) for x, y in _PLACES])
SADDLE = MINIMUM.copy()
SADDLE[[2, 7, 8]] += [(-0.5, 0.15, 0), (0.07, -0.07, 0), (-0.12, 0.03, 0)]


def _record(positions: np.ndarray) -> Record:
    return Record(NUMBERS, positions / Bohr, energy=-1.0)


@pytest.fixture
def path() -> list[Record]:
    return transfer(_record(MINIMUM), _record(SADDLE))


def test_path_leads_over_the_saddle_to_the_minimum_with_ends_exchanged(path: list[Record]) -> None:
    along = np.array([coordinate(one) for one in path])
    assert (np.diff(along) > 0).all()
    assert along[0] == pytest.approx(coordinate(_record(MINIMUM)))
    assert along[-1] == pytest.approx(-along[0])
    assert along[len(along) // 2] == pytest.approx(coordinate(_record(SADDLE)))
    assert not any(one.energy for one in path)


def test_nearness_does_not_depend_on_where_a_molecule_is(path: list[Record]) -> None:
    """Nor on which way it faces, which end is which, or its mirror image."""
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    moved = path[3].positions[proton_path._EXCHANGED] @ turn + 5.0
    assert len(near(path, [replace(path[3], positions=moved)])) == 1
    assert not near(path, [replace(path[3], positions=1.1 * path[3].positions)])
