"""What a network takes from its training data, in one pass over parts of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.baseline import flatten
from ase_mlwave.models.phisnet.energy import electronic_states, n_occupied, wavefunction_energies
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training import statistics
from ase_mlwave.models.phisnet.training.losses import predict_batch
from ase_mlwave.models.phisnet.training.prepared import Preparation, PreparedDataset, join
from ase_mlwave.systems.batch import collate
from tests.models.phisnet.systems import network
from tests.models.phisnet.training.runs import WATERS


@pytest.fixture(scope="module")
def waters() -> PreparedDataset:
    kept: Any = ("overlap", "baseline", "core", "energy_core")
    return PreparedDataset(read_dataset(WATERS).records, Preparation("def2-svp", "sap", kept=kept))


def _buffers(model: PhiSNet) -> dict[str, Tensor]:
    """Copy statistics; of the domain the inverse covariance, for the signs of its eigenvectors are free."""
    found = {name: buffer.clone() for name, buffer in model.named_buffers()}
    whitening = found.pop("domain.whitening")
    return found | {"domain": whitening @ whitening.mT}


def test_statistics_do_not_depend_on_the_parts(waters: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """One molecule at a time, three, or all at once: scales, shifts, atomic energies and the domain."""
    found = []
    for chunk in (1, 3, 64):
        monkeypatch.setattr(statistics, "_CHUNK", chunk)
        model = network("edge_frame", cutoff=15.0)
        done: list[int] = []
        statistics.fit_statistics(model, waters, done.append)
        threshold = statistics.fit_domain(model, waters, waters, done.append)["domain_distance"]
        assert sum(done) == 2 * len(waters)
        found.append(_buffers(model) | {"threshold": torch.tensor(threshold)})
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-6 if "domain" in name else 1e-11, atol=1e-11)


def test_scales_are_root_mean_squares_of_all_blocks(waters: PreparedDataset) -> None:
    """Of the O-O block of H - H0, computed here from all molecules at once."""
    model = network("edge_frame", cutoff=15.0)
    statistics.fit_statistics(model, waters)
    head: Any = model.heads.atoms["O"]
    n = head.shape[0]
    systems: list[Any] = [waters[index] for index in range(len(waters))]
    blocks = [system.matrices["residual"][:n, :n] for system in systems]
    coefficients = head.coefficients(torch.stack(blocks))
    start = 0
    for l, parity in head.orders:
        part = coefficients[:, start : start + 2 * l + 1]
        shift = part.mean() if (l, parity) == (0, 1) else 0.0
        scale = (part - shift).square().mean().sqrt().clamp(min=1e-3)
        torch.testing.assert_close(head.scale[start], scale, rtol=1e-12, atol=0.0)
        start += 2 * l + 1


def test_remainder_is_what_atomic_energies_stand_for(waters: PreparedDataset) -> None:
    """Reference energies less the energies of the reference matrices, of all molecules as one batch."""
    systems = [waters[index] for index in range(len(waters))]
    batch = collate([system.record for system in systems], 15.0)
    joined = {name: flatten([system.matrices[name] for system in systems]) for name in systems[0].matrices}
    sizes = tuple(len(system.matrices["residual"]) for system in systems)
    hamiltonian = MatrixBatch(joined["residual"] + joined["baseline"], sizes)
    occupied = tuple(n_occupied(system.record.numbers) for system in systems)
    states = electronic_states(hamiltonian, joined["overlap"], occupied)
    none = torch.zeros(len(batch.numbers), dtype=torch.float64)
    energies = wavefunction_energies(batch, hamiltonian, joined["energy_core"], states, none, short_range=True)
    for system, energy in zip(systems, energies.tolist(), strict=True):
        assert system.remainder == pytest.approx((system.record.energy or 0.0) - energy, abs=1e-10)


def _energy_errors(model: PhiSNet, waters: PreparedDataset) -> Tensor:
    """Errors of the wavefunction energies, Hartree."""
    batch = join([waters[index] for index in range(len(waters))], model)
    prediction = predict_batch(model, batch, energies=True, forces=False)
    assert prediction.energies is not None
    assert batch.energies is not None
    return (prediction.energies - batch.energies).detach()


def test_energies_are_shifted_and_the_readout_stays(waters: PreparedDataset) -> None:
    model = network("edge_frame", cutoff=15.0)
    statistics.fit_statistics(model, waters)
    statistics.shift_energies(model, waters)
    before = {name: weight.clone() for name, weight in model.energy_head.state_dict().items()}
    model.energy_shift += 0.3  # type: ignore[operator, assignment]
    statistics.shift_energies(model, waters)
    assert all(torch.equal(weight, before[name]) for name, weight in model.energy_head.state_dict().items())
    assert abs(float(_energy_errors(model, waters).mean())) < 1e-9
