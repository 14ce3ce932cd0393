"""Structures and fits of the benchmark of growth with size, and a small run of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.neighborlist import neighbor_list

from benchmarks import scaling


@pytest.mark.parametrize("n_atoms", [10, 100, 1000])
def test_chain_is_an_alkane(n_atoms: int) -> None:
    atoms = scaling.chain(n_atoms)
    carbons = atoms.symbols.count("C")
    assert abs(len(atoms) - n_atoms) <= 2
    assert atoms.symbols.count("H") == 2 * carbons + 2
    first, second, distances = neighbor_list("ijd", atoms, 1.7)
    bonds = np.bincount(first, minlength=len(atoms))
    assert (bonds[atoms.numbers == 6] == 4).all()
    assert (bonds[atoms.numbers == 1] == 1).all()
    of_carbons = (atoms.numbers[first] == 6) & (atoms.numbers[second] == 6)
    np.testing.assert_allclose(distances[of_carbons], 1.53, atol=0.01)
    np.testing.assert_allclose(distances[~of_carbons], 1.09, atol=0.01)
    closest = neighbor_list("d", atoms[atoms.numbers == 1], 3.0)
    assert closest.min() > 1.7


def test_waters_do_not_overlap() -> None:
    atoms = scaling.water_box(300)
    assert len(atoms) == 300
    distances = atoms.get_all_distances()
    molecules = np.arange(300) // 3
    between = molecules[:, None] != molecules
    assert distances[between].min() > 1.6
    assert distances[~between].max() < 1.6  # every molecule is whole


def test_waters_have_the_density_of_the_liquid() -> None:
    atoms = scaling.water_box(3000)  # a full cube of 10 x 10 x 10 places
    oxygens = atoms.positions[atoms.numbers == 8]
    volume = np.prod(np.ptp(oxygens, axis=0) * 10 / 9)
    grams_per_cm3 = atoms.get_masses().sum() / volume / (units.mol * 1e-24)
    assert grams_per_cm3 == pytest.approx(0.997, abs=0.005)


def test_water_does_not_depend_on_anything_but_its_seed() -> None:
    assert scaling.water_box(30) == scaling.water_box(30)
    assert scaling.water_box(30) != scaling.water_box(30, seed=1)


def test_exponent_is_the_slope_beyond_a_size() -> None:
    sizes = np.array([1.0, 2.0, 50.0, 100.0, 1000.0])
    costs = np.where(sizes < 50, 7.0, 0.01 * sizes**1.5)
    assert scaling.exponent(sizes, costs, fit_from=50) == pytest.approx(1.5)
    assert np.isnan(scaling.exponent(sizes, costs, fit_from=1000))


@pytest.mark.slow
def test_time_and_memory_are_measured_in_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--random", "--sizes", "10", "30", "--fit-from", "1", "--families", "alkane", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["scaling", *arguments, "--output", str(tmp_path)])
    scaling.main()
    written = json.loads((tmp_path / "scaling.json").read_text())
    small, large = written["costs"]
    assert (small["atoms"], large["atoms"]) == (11, 29)
    assert 0 < small["seconds"] < large["seconds"]
    assert 10 < large["memory"] < 5000
    assert 0.3 < written["exponents"]["alkane, seconds"] < 3
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_model_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling", "no-such-model"])
    with pytest.raises(SystemExit, match=r"error: .*no-such-model"):
        scaling.main()
