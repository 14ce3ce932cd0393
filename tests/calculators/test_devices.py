"""What calculators give beside ASE's properties, and what uses them, on a device and on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from pyscf import dft

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.evaluation.energies import evaluate
from tests import pretend_gpu4pyscf
from tests.calculators.under_test import CUDA
from tests.calculators.waters import MODEL, mole_of, waters
from tests.models.phisnet.training.runs import WATERS
from tests.pretend_device import PRETENDED, PretendDevice


@pytest.fixture(params=[PRETENDED, *CUDA])
def devices(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Give the CPU with each other device, and everywhere with one that only looks like it."""
    with PretendDevice() if request.param == PRETENDED else nullcontext():
        yield "cpu", request.param


def _water() -> Atoms:
    atoms: Atoms = waters(2)[1]
    return atoms


def test_matrices_and_guesses_are_those_of_the_cpu(devices: tuple[str, str]) -> None:
    found: list[dict[str, Any]] = []
    for device in devices:
        calc = PhiSNetCalculator([MODEL, MODEL], device=device)
        guess = calc.initial_guess(dft.RKS(mole_of(_water(), "sto-3g")))
        found.append({"hamiltonian": calc.hamiltonian(_water()), "guess": guess})
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=0, atol=1e-9, err_msg=name)


def test_learned_density_is_that_of_the_cpu(devices: tuple[str, str]) -> None:
    points = np.random.default_rng(0).normal(size=(10, 3))
    one, other = (QDFCalculator("qdf-chno", device=device).density(molecule("H2O"), points) for device in devices)
    np.testing.assert_allclose(other, one, rtol=1e-9)


def test_figures_of_an_evaluation_are_those_of_the_cpu(devices: tuple[str, str]) -> None:
    data = read_dataset(WATERS)
    few = Dataset(data.records[:2], data.level, data.source)
    one, other = (evaluate(load_calculator("qdf-chno", device=device), few).figures for device in devices)
    assert other == pytest.approx(one, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("energy", [pytest.param("functional", marks=pytest.mark.slow), "scf"])
def test_levels_of_pyscf_go_where_the_network_is(
    energy: str, devices: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With gpu4pyscf the mean fields of a network on a device, and only these, are computed there."""
    moved = pretend_gpu4pyscf.install(monkeypatch)
    found = []
    for device in devices:
        atoms = _water()
        atoms.calc = PhiSNetCalculator(MODEL, device=device, energy=energy)
        found.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.calc.extras.get("scf_cycles")))
        assert bool(moved) == (device != "cpu")
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-8)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-6)
    if energy == "scf":
        assert found[0][2] <= found[1][2]  # on the host it is preconditioned
