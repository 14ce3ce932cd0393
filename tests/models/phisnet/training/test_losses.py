"""Loss terms, and the wavefunction energy and its forces with all integrals."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.losses import Prediction, loss_terms, predict_batch
from ase_mlwave.models.phisnet.training.prepared import Preparation, PreparedDataset, TrainingBatch, join
from ase_mlwave.models.phisnet.training.settings import LossWeights
from ase_mlwave.models.phisnet.training.statistics import fit_statistics
from tests.models.phisnet.systems import network
from tests.models.phisnet.training.runs import WATERS


@cache
def _waters() -> Dataset:
    return read_dataset(WATERS)


def _prepared(records: tuple[Record, ...], model: PhiSNet, *, derivatives: bool = False) -> PreparedDataset:
    config = model.config
    preparation = Preparation(config.basis, config.baseline, derivatives, config.short_range)
    return PreparedDataset(records, preparation)


@cache
def _model(product: str = "edge_frame", baseline: str = "sap", *, short_range: bool = True) -> PhiSNet:
    """Make a network whose matrices are near those of water: random weights, small scales."""
    model = network(product, baseline=baseline, short_range=short_range, cutoff=15.0)
    fit_statistics(model, _prepared(_waters().records, model))
    for name, buffer in model.named_buffers():
        if name.endswith("scale"):
            buffer *= 0.1
    return model


def _batch(model: PhiSNet, records: tuple[Record, ...] | None = None, *, derivatives: bool = False) -> TrainingBatch:
    chosen = _waters().records[:2] if records is None else records
    return join(list(_prepared(chosen, model, derivatives=derivatives)), model.config.cutoff)


def _energies(model: PhiSNet, records: tuple[Record, ...]) -> Tensor:
    with torch.no_grad():
        energies = predict_batch(model, _batch(model, records), energies=True, forces=False).energies
    assert energies is not None
    return energies


@pytest.mark.parametrize("short_range", [True, False])
@pytest.mark.parametrize(("product", "baseline"), [("edge_frame", "sap"), ("clebsch_gordan", "none")])
def test_forces_are_minus_the_derivative_of_the_energy(product: str, baseline: str, short_range: bool) -> None:
    """With the motion of basis functions in S, h and H0: integrals are computed anew at displaced geometries."""
    model, records = _model(product, baseline, short_range=short_range), _waters().records[:2]
    forces = predict_batch(model, _batch(model, records, derivatives=True), energies=True, forces=True).forces
    assert forces is not None
    h = 1e-3
    for atom, axis in [(0, 0), (1, 1), (2, 2)]:
        values = []
        for step in (2 * h, h, -h, -2 * h):
            moved = records[0].positions.copy()
            moved[atom, axis] += step
            values.append(float(_energies(model, (replace(records[0], positions=moved), records[1])).sum()))
        slope = (-values[0] + 8 * values[1] - 8 * values[2] + values[3]) / (12 * h)
        assert float(forces[atom, axis].detach()) == pytest.approx(-slope, abs=1e-7)


def test_energy_is_that_of_each_molecule() -> None:
    model, records = _model(), _waters().records[:3]
    torch.testing.assert_close(_energies(model, records), torch.cat([_energies(model, (r,)) for r in records]))


def test_forces_do_not_need_gradients_of_weights() -> None:
    model = _model()
    with torch.no_grad():
        prediction = predict_batch(
            model, _batch(model, derivatives=True), energies=True, forces=True, create_graph=False
        )
    assert prediction.forces is not None
    assert not prediction.forces.requires_grad


def _perfect(batch: TrainingBatch, error: Tensor | None = None) -> Prediction:
    """Pretend a prediction equal to the reference plus an error of H."""
    assert batch.hamiltonian is not None
    output = predict_batch(_model(), batch, energies=False, forces=False).output
    flat = batch.hamiltonian if error is None else batch.hamiltonian + error
    return Prediction(output, MatrixBatch(flat, (24, 24)), batch.energies, batch.forces)


def test_perfect_prediction_has_no_loss() -> None:
    batch = _batch(_model())
    weights = LossWeights(hamiltonian=1.0, alignment=1.0, energy=1.0, forces=1.0)
    terms = loss_terms(_perfect(batch), batch, weights)
    assert set(terms) == {"hamiltonian", "alignment", "energy", "forces"}
    assert all(float(value.detach()) < 2e-10 for value in terms.values())


def test_hamiltonian_term_is_mean_absolute_plus_root_mean_square() -> None:
    batch = _batch(_model())
    assert batch.hamiltonian is not None
    error = torch.zeros_like(batch.hamiltonian)
    error[::2] = 0.02
    terms = loss_terms(_perfect(batch, error), batch, LossWeights())
    assert set(terms) == {"hamiltonian"}
    assert float(terms["hamiltonian"].detach()) == pytest.approx(0.01 + 0.02 / 2**0.5)


def test_alignment_sees_only_what_mixes_occupied_and_virtual_orbitals() -> None:
    """A shift of H by the overlap moves all orbital energies alike and changes no orbital."""
    batch = _batch(_model())
    shift = torch.cat([0.1 * matrix.value.reshape(-1) for matrix in batch.overlaps])
    weights = LossWeights(hamiltonian=0.0, alignment=1.0)
    assert float(loss_terms(_perfect(batch, shift), batch, weights)["alignment"].detach()) < 2e-10
    mixing = torch.cat([0.1 * matrix.value.square().reshape(-1) for matrix in batch.overlaps])
    assert float(loss_terms(_perfect(batch, mixing), batch, weights)["alignment"].detach()) > 1e-3


@pytest.mark.parametrize(
    ("label", "weights", "message"),
    [
        ("matrices", {"hamiltonian": 1.0}, "needs Hamiltonian matrices"),
        ("matrices", {"hamiltonian": 0.0, "alignment": 1.0}, "needs Hamiltonian matrices"),
        ("energy", {"energy": 1.0}, "needs energies"),
        ("forces", {"forces": 1.0}, "needs forces"),
    ],
)
def test_missing_labels_are_an_error(label: str, weights: dict[str, float], message: str) -> None:
    """One record without a label is enough."""
    model, records = _model(), _waters().records
    bare = replace(records[1], **{label: {} if label == "matrices" else None})
    batch = _batch(model, (records[0], bare), derivatives=True)
    chosen = LossWeights(**weights)
    prediction = predict_batch(model, batch, energies=chosen.energy > 0, forces=chosen.forces > 0)
    with pytest.raises(ValueError, match=f"{message}, which some training records lack"):
        loss_terms(prediction, batch, chosen)


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="all loss weights are zero"):
        LossWeights(hamiltonian=0.0)
