"""The wavefunction energy of molecules, alone and far apart."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.baseline import baseline_matrix, energy_core, exact_matrices
from ase_mlwave.models.phisnet.energy import ElectronicStates, electronic_states, n_occupied, wavefunction_energies
from ase_mlwave.models.phisnet.inference import predict_batch as infer
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.losses import predict_batch
from ase_mlwave.models.phisnet.training.prepared import Preparation, PreparedDataset, join
from ase_mlwave.models.phisnet.training.statistics import fit_statistics
from ase_mlwave.quantum.basis import n_functions
from ase_mlwave.quantum.integrals import IntegralProgram, batch_integrals
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.system import System
from tests.models.phisnet.systems import geometry, network
from tests.models.phisnet.training.runs import WATERS


def _energy(model: PhiSNet, numbers: np.ndarray, positions: np.ndarray) -> float:
    config = model.config
    preparation = Preparation(config.basis, config.baseline, short_range=config.short_range)
    prepared = PreparedDataset([Record(numbers=numbers, positions=positions)], preparation)
    with torch.no_grad():
        prediction = predict_batch(model, join(list(prepared), model), energies=True, forces=False)
    assert prediction.energies is not None
    return float(prediction.energies[0])


def _interaction(*, short_range: bool, distance: float) -> float:
    """Energy of two waters of different shape minus that of each, Hartree."""
    data = read_dataset(WATERS)
    model = network("edge_frame", short_range=short_range, cutoff=15.0)
    preparation = Preparation("def2-svp", "sap", short_range, kept=("overlap", "core"))
    fit_statistics(model, PreparedDataset(data.records, preparation))
    first, second = data[0], data[1]
    moved = second.positions + np.array([distance, 0.0, 0.0])
    both = np.concatenate([first.numbers, second.numbers]), np.concatenate([first.positions, moved])
    alone = _energy(model, first.numbers, first.positions) + _energy(model, second.numbers, second.positions)
    return _energy(model, *both) - alone


def test_wavefunction_energy_is_size_consistent() -> None:
    assert abs(_interaction(short_range=True, distance=40.0)) < 1e-8


def test_bare_coulomb_terms_are_not_size_consistent() -> None:
    """The reason for short-range terms: the matrix does not know what h and the nuclei tell of distant charges."""
    assert abs(_interaction(short_range=False, distance=40.0)) > 1e-6


def test_closed_shells_are_counted() -> None:
    assert n_occupied(torch.tensor([8, 1, 1])) == 5
    assert n_occupied(torch.tensor([8, 1]), charge=-1) == 5
    with pytest.raises(ValueError, match="9 electrons do not make a closed shell"):
        n_occupied(torch.tensor([8, 1]))


def _energies(molecules: list[System], device: str = "cpu") -> tuple[ElectronicStates, Tensor, Tensor]:
    """Solve T + V_ne + V_SAP of molecules: states, wavefunction energies, and their gradient."""
    batch = collate(molecules, 1.0).to(device)
    batch = batch.at(batch.positions.requires_grad_())
    numbers = [one.numbers for one in molecules]
    exact = exact_matrices(batch.positions, numbers, "sto-3g", baseline="sap", short_range=True)
    H = MatrixBatch(exact.baseline, tuple(sum(n_functions("sto-3g", z) for z in each.tolist()) for each in numbers))
    states = electronic_states(H, exact.overlap, [n_occupied(one.numbers) for one in molecules])
    none = batch.positions.new_zeros(len(batch.numbers))
    energies = wavefunction_energies(batch, H, exact.core, states, none, short_range=True)
    return states, energies, torch.autograd.grad(energies.sum(), batch.positions)[0]


#: Molecules of 24, 7, 2, 7 and 22 functions: some are padded, some are not.
MIXED = [System(*geometry(symbols, seed)) for seed, symbols in enumerate(["CCOOHHHH", "OHH", "HH", "HOH", "CCOOHH"])]


def test_states_of_a_batch_are_those_of_its_members() -> None:
    states, energies, gradient = _energies(MIXED)
    slopes = gradient.split([len(one) for one in MIXED])
    for together, energy, slope, one in zip(states.split(), energies, slopes, MIXED, strict=True):
        (alone,), expected, expected_slope = (x if b else x.split() for b, x in enumerate(_energies([one])))
        torch.testing.assert_close(together.density, alone.density, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(together.orbital_energies, alone.orbital_energies, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(energy, expected[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(slope, expected_slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("molecules", [MIXED[2:3], MIXED], ids=["one", "mixed"])
def test_a_pass_needs_nothing_from_the_host(molecules: list[System], meta: str) -> None:
    """On the device "meta" there are no numbers: to look at one, or to mix devices, is an error."""
    states, energies, gradient = _energies(molecules, meta)
    assert energies.is_meta
    assert energies.shape == (len(molecules),)
    assert gradient.shape == (sum(map(len, molecules)), 3)
    assert states.orbital_energies.shape == (sum(states.density.sizes),)


@pytest.mark.parametrize("program", get_args(IntegralProgram))
@pytest.mark.parametrize("short_range", [False, True])
@pytest.mark.parametrize("kind", ["none", "sap"])
def test_exact_matrices_are_sums_of_integrals(kind: str, short_range: bool, program: IntegralProgram) -> None:
    positions = torch.from_numpy(np.concatenate([one.positions for one in MIXED[1:4]]))
    numbers = [one.numbers for one in MIXED[1:4]]
    found = exact_matrices(positions, numbers, "sto-3g", baseline=kind, short_range=short_range, integrals=program)
    every = batch_integrals(positions, numbers, "sto-3g", sap=True, smeared=True)
    for name, parts in {
        "overlap": [one.overlap for one in every],
        "baseline": [baseline_matrix(kind, one) for one in every],
        "core": [energy_core(one, short_range=short_range) for one in every],
    }.items():
        expected = torch.cat([part.reshape(-1) for part in parts])
        torch.testing.assert_close(getattr(found, name), expected, rtol=1e-10, atol=1e-11)


def _labelled(level: str) -> list[Record]:
    """Label two waters in a small basis, far from equilibrium."""
    return [LevelOfTheory.parse(level).label(record.unlabelled()) for record in read_dataset(WATERS).records[:2]]


def test_without_atomic_energies_that_of_hartree_fock_theory_is_exact() -> None:
    """1/2 tr[P (F + h)] + E_nn of the reference's matrix is its energy; of a density functional it is not."""
    for level, exact in (("hf/sto-3g density_fit=false", True), ("pbe/sto-3g grid_level=0", False)):
        prepared = PreparedDataset(_labelled(level), Preparation("sto-3g", "sap", short_range=False))
        remainders = [abs(system.remainder or 0.0) for system in prepared]
        assert (max(remainders) < 1e-9) == exact
        assert (min(remainders) > 1.0) != exact


def test_a_model_without_atomic_energies_has_none() -> None:
    numbers, positions = geometry("OHH")
    model = network("edge_frame", basis="sto-3g", short_range=False)
    bare = network("edge_frame", basis="sto-3g", short_range=False, atomic_energies=False)
    system = System(numbers, positions)
    one, other = (infer(some, [system]) for some in (model, bare))
    assert torch.count_nonzero(other.atomic_energies) == 0
    difference = one.wavefunction_energies() - other.wavefunction_energies()
    torch.testing.assert_close(difference, one.atomic_energies.sum()[None], rtol=0, atol=1e-10)
    assert abs(float(difference[0])) > 1e-3


@pytest.mark.parametrize("baseline", ["none", "sap"])
def test_shifts_of_the_baseline_move_orbitals_alike_and_the_energy_by_half_for_each_electron(baseline: str) -> None:
    system = System(*geometry("OHH"))
    changes = {"basis": "sto-3g", "baseline": baseline, "short_range": False}
    one = infer(network("edge_frame", **changes), [system])
    other = infer(network("edge_frame", baseline_shift=-0.04, **changes), [system])
    energies = [some.states[0].orbital_energies for some in (one, other)]
    torch.testing.assert_close(energies[1], energies[0] - 0.04, rtol=0, atol=1e-9)
    torch.testing.assert_close(other.states[0].density, one.states[0].density, rtol=0, atol=1e-8)
    change = other.wavefunction_energies() - one.wavefunction_energies()
    assert float(change[0]) == pytest.approx(-0.04 * 10 / 2, abs=1e-8)


def test_training_and_inference_have_the_same_shifted_energy() -> None:
    record = _labelled("hf/sto-3g density_fit=false")[0]
    model = network("edge_frame", basis="sto-3g", short_range=False, baseline_shift=0.1, cutoff=15.0)
    kept: Any = ("baseline", "overlap", "energy_core")
    for some, forces in ((kept, False), ((), True)):
        preparation = Preparation("sto-3g", "sap", short_range=False, kept=some, shift=0.1)
        (system,) = PreparedDataset([record], preparation)
        batch = join([system], model, forces=forces)
        found = predict_batch(model, batch, energies=True, forces=forces).energies
        assert found is not None
        expected = infer(model, [record]).wavefunction_energies()
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-8)
