"""The standard deviation of an energy: that of linear regression, large where no training molecule is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.qdf.inference import predict_batch
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.training.readout import fit_readout
from ase_mlwave.models.qdf.training.run import fit_domain
from ase_mlwave.models.qdf.training.settings import ReadoutSettings
from ase_mlwave.models.qdf.uncertainty import EnergyUncertainty
from ase_mlwave.units import BOHR
from tests.models.qdf.networks import random_network


def test_deviations_are_those_of_linear_regression() -> None:
    """With all directions, errors drawn from x.w, w normal with the regression's own covariance, have this width."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 6)) * np.array([1, 2, 3, 1e-2, 1, 0])  # the last: an element that is lacking
    covariance = np.linalg.inv(rows[:, :5].T @ rows[:, :5] / 50)
    new = rng.normal(size=(400, 6)) * np.array([1, 2, 3, 1e-2, 1, 0])
    expected = np.sqrt(np.einsum("ij,jk,ik->i", new[:, :5], covariance, new[:, :5]))
    measure = EnergyUncertainty(8, 6)  # columns beyond those of the fit count nothing
    scale = np.array([1, 2, 3, 1e-2, 1, np.inf])
    measure.fit(rows.T @ rows / 50, scale, new, 0.3 * expected * rng.normal(size=400))
    found = measure(torch.from_numpy(np.pad(new, ((0, 0), (0, 2)), constant_values=1.0)))
    assert found.numpy() == pytest.approx(0.3 * expected, rel=0.15)
    assert np.corrcoef(found.numpy(), expected)[0, 1] > 1 - 1e-6


def distorted(name: str, count: int, seed: int) -> list[Record]:
    records = []
    for i in range(count):
        atoms = molecule(name)
        atoms.rattle(0.05, rng=np.random.default_rng([seed, i]))
        records.append(Record(atoms.numbers, atoms.positions / BOHR))
    return records


def learned(network: QDF) -> QDF:
    """Fit the readout to waters and methanes that have the energies of the network itself, and a little noise."""
    rng = np.random.default_rng(0)
    parts = []
    for count, seed in ((12, 0), (6, 1)):
        records = distorted("H2O", count, seed) + distorted("CH4", count, seed)
        found = predict_batch(network, records)
        noisy = (one.energy + 1e-4 * rng.normal() for one in found)
        parts.append(
            Dataset(tuple(replace(r, energy=energy) for r, energy in zip(records, noisy, strict=True)), "x", "x")
        )
    fit_readout(network, *parts, ReadoutSettings(directions=0, orientations=0, penalties=(1e-8,)))
    return network


def test_energies_are_uncertain_where_no_training_molecule_is() -> None:
    network = learned(random_network(dimension=8, readout_width=12, pair_functions=3, uncertainty_directions=20))
    names = ("H2O", "CH4", "H2O2", "CO", "HCN")
    water, methane, *others = (
        one.deviation for one in predict_batch(network, [distorted(name, 1, 9)[0] for name in names])
    )
    assert 0 < max(water, methane) < 0.1 * min(others)
    assert set(fit_domain(network, Dataset(tuple(distorted("H2O", 2, 0)), "x", "x"))[0]) == {
        "domain_distance",
        "energy_uncertainty",
    }


def test_one_pass_gives_what_two_give() -> None:
    network = learned(random_network(dimension=8, readout_width=12, pair_functions=3, uncertainty_directions=20))
    records = [distorted(name, 1, 9)[0] for name in ("H2O", "CH3OH")]
    for one, other in zip(*(predict_batch(network, records, forces=forces) for forces in (False, True)), strict=True):
        assert (one.energy, one.deviation) == pytest.approx((other.energy, other.deviation), abs=1e-9)
        np.testing.assert_allclose(one.atomic_energies, other.atomic_energies, atol=1e-9)
        np.testing.assert_allclose(one.cell_electrons, other.cell_electrons, atol=1e-9)


def test_models_without_the_measure_say_nothing() -> None:
    network = random_network()
    assert network.uncertainty is None
    assert predict_batch(network, distorted("H2O", 1, 0))[0].deviation is None
