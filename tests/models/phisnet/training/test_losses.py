"""Loss terms, and the wavefunction energy and its forces with all integrals."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.inference import predict_batch as predict_states
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.training.losses import Prediction, loss_terms, predict_batch
from ase_mlwave.models.phisnet.training.prepared import (
    MatrixName,
    Preparation,
    PreparedDataset,
    TrainingBatch,
    join,
)
from ase_mlwave.models.phisnet.training.settings import LossWeights
from ase_mlwave.models.phisnet.training.statistics import fit_statistics
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.populations import dipole_moment
from tests.models.phisnet.systems import network
from tests.models.phisnet.training.runs import WATERS

#: With a Hamiltonian that is made up.
_HYDROGEN = Record(
    numbers=np.array([1, 1]),
    positions=np.array([[0.0, 0.0, 0.0], [1.4, 0.0, 0.0]]),
    energy=-1.1,
    forces=np.zeros((2, 3)),
    matrices={"hamiltonian": np.diag(np.linspace(-0.6, 2.0, 10))},
)


@cache
def _waters() -> Dataset:
    return read_dataset(WATERS)


def _prepared(records: tuple[Record, ...], model: PhiSNet, kept: tuple[MatrixName, ...] = ()) -> PreparedDataset:
    config = model.config
    return PreparedDataset(records, Preparation(config.basis, config.baseline, config.short_range, kept))


@cache
def _model(product: str = "edge_frame", baseline: str = "sap", *, short_range: bool = True) -> PhiSNet:
    """Make a network whose matrices are near those of water: random weights, small scales."""
    model = network(product, baseline=baseline, short_range=short_range, cutoff=15.0)
    fit_statistics(model, _prepared(_waters().records, model, ("overlap", "core")))
    for name, buffer in model.named_buffers():
        if name.endswith("scale"):
            buffer *= 0.1
    return model


def _batch(
    model: PhiSNet, records: tuple[Record, ...] | None = None, kept: tuple[MatrixName, ...] = ("overlap", "orbitals")
) -> TrainingBatch:
    chosen = _waters().records[:2] if records is None else records
    return join(list(_prepared(chosen, model, kept)), model)


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
    forces = predict_batch(model, _batch(model, records), energies=True, forces=True).forces
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
        prediction = predict_batch(model, _batch(model), energies=True, forces=True, create_graph=False)
    assert prediction.forces is not None
    assert not prediction.forces.requires_grad


def test_dipoles_are_those_of_the_density() -> None:
    """And move with the weights of the network, for training."""
    model, records = _model(), _waters().records[:3]
    batch = _batch(model, records, ("x", "y", "z"))
    dipoles = predict_batch(model, batch, energies=False, forces=False, dipoles=True).dipoles
    assert dipoles is not None
    states = predict_states(model, records).states
    for record, found, state in zip(records, dipoles.detach().numpy(), states, strict=True):
        mole = build_mole(record.numbers, record.positions, model.config.basis)
        np.testing.assert_allclose(found, dipole_moment(state.density.detach().numpy(), mole), atol=1e-7)
    slopes = torch.autograd.grad(dipoles.square().sum(), list(model.heads.parameters()), allow_unused=True)
    assert any(slope is not None and slope.abs().max() > 1e-6 for slope in slopes)


def _perfect(batch: TrainingBatch, error: Tensor | float = 0.0) -> Prediction:
    """Pretend a prediction equal to the reference plus an error of H."""
    output = predict_batch(_model(), batch, energies=False, forces=False).output
    hamiltonian = MatrixBatch(batch.matrices["residual"] + error, output.hamiltonian.sizes)
    return Prediction(replace(output, hamiltonian=hamiltonian), batch.energies, batch.forces)


def test_perfect_prediction_has_no_loss() -> None:
    batch = _batch(_model())
    weights = LossWeights(hamiltonian=1.0, alignment=1.0, energy=1.0, forces=1.0)
    terms = loss_terms(_perfect(batch), batch, weights)
    assert set(terms) == {"hamiltonian", "alignment", "energy", "forces"}
    assert all(float(value.detach()) < 2e-10 for value in terms.values())


def test_hamiltonian_term_is_mean_absolute_plus_root_mean_square() -> None:
    batch = _batch(_model())
    error = torch.zeros_like(batch.matrices["residual"])
    error[::2] = 0.02
    terms = loss_terms(_perfect(batch, error), batch, LossWeights())
    assert set(terms) == {"hamiltonian"}
    assert float(terms["hamiltonian"].detach()) == pytest.approx(0.01 + 0.02 / 2**0.5)


def test_alignment_sees_only_what_mixes_occupied_and_virtual_orbitals() -> None:
    """A shift of H by the overlap moves all orbital energies alike and changes no orbital."""
    batch = _batch(_model(), (*_waters().records[:2], _HYDROGEN))
    overlap = batch.matrices["overlap"]
    weights = LossWeights(hamiltonian=0.0, alignment=1.0)
    assert float(loss_terms(_perfect(batch, 0.1 * overlap), batch, weights)["alignment"].detach()) < 2e-10
    assert float(loss_terms(_perfect(batch, 0.1 * overlap.square()), batch, weights)["alignment"].detach()) > 1e-3


def test_alignment_is_root_mean_square_between_true_orbitals() -> None:
    """Of molecules of different sizes, computed here one by one."""
    records = (_HYDROGEN, *_waters().records[:2])
    batch = _batch(_model(), records)
    error = torch.randn(len(batch.matrices["residual"]), dtype=torch.float64, generator=torch.manual_seed(0))
    blocks = []
    for record, E in zip(records, MatrixBatch(error, (10, 24, 24)).matrices(), strict=True):
        mole = build_mole(record.numbers, record.positions, "def2-svp")
        _, C = scipy.linalg.eigh(record.matrices["hamiltonian"], mole.intor("int1e_ovlp"))
        n = int(record.numbers.sum()) // 2
        blocks.append((C[:, :n].T @ E.numpy() @ C[:, n:]).ravel())
    terms = loss_terms(_perfect(batch, error), batch, LossWeights(hamiltonian=0.0, alignment=1.0))
    expected = np.sqrt(np.square(np.concatenate(blocks)).mean())
    assert float(terms["alignment"].detach()) == pytest.approx(expected, rel=1e-9)


def test_density_term_is_the_first_order_change_of_the_density() -> None:
    """Of molecules of different sizes, by diagonalising the wrong H one by one."""
    records, step = (_HYDROGEN, *_waters().records[:2]), 1e-5
    batch = _batch(_model(), records)
    error = torch.randn(len(batch.matrices["residual"]), dtype=torch.float64, generator=torch.manual_seed(0))
    blocks = []
    for record, E in zip(records, MatrixBatch(error, (10, 24, 24)).matrices(), strict=True):
        S = build_mole(record.numbers, record.positions, "def2-svp").intor("int1e_ovlp")
        H, wrong, n = record.matrices["hamiltonian"], (E + E.T).numpy() / 2, int(record.numbers.sum()) // 2
        _, C = scipy.linalg.eigh(H, S)
        occupied = [scipy.linalg.eigh(H + sign * step * wrong, S)[1][:, :n] for sign in (1, -1)]
        change = (occupied[0] @ occupied[0].T - occupied[1] @ occupied[1].T) / (2 * step)
        blocks.append((C[:, :n].T @ S @ change @ S @ C[:, n:]).ravel())
    symmetric = torch.cat([((E + E.T) / 2).reshape(-1) for E in MatrixBatch(error, (10, 24, 24)).matrices()])
    terms = loss_terms(_perfect(batch, symmetric), batch, LossWeights(hamiltonian=0.0, density=1.0))
    expected = np.sqrt(np.square(np.concatenate(blocks)).mean())
    assert float(terms["density"].detach()) == pytest.approx(expected, rel=1e-6)


def test_occupied_term_is_the_first_order_change_of_orbital_energies() -> None:
    """Of molecules of different sizes, by diagonalising the wrong H one by one."""
    records, step = (_HYDROGEN, *_waters().records[:2]), 1e-5
    batch = _batch(_model(), records)
    error = torch.randn(len(batch.matrices["residual"]), dtype=torch.float64, generator=torch.manual_seed(0))
    wrong = [(E + E.T) / 2 for E in MatrixBatch(error, (10, 24, 24)).matrices()]
    changes = []
    for record, E in zip(records, wrong, strict=True):
        S = build_mole(record.numbers, record.positions, "def2-svp").intor("int1e_ovlp")
        H, n = record.matrices["hamiltonian"], int(record.numbers.sum()) // 2
        higher, lower = (scipy.linalg.eigh(H + sign * step * E.numpy(), S)[0][:n] for sign in (1, -1))
        changes.append((higher - lower) / (2 * step))
    weights = LossWeights(hamiltonian=0.0, occupied=1.0)
    terms = loss_terms(_perfect(batch, torch.cat([E.reshape(-1) for E in wrong])), batch, weights)
    assert float(terms["occupied"].detach()) == pytest.approx(np.abs(np.concatenate(changes)).mean(), rel=1e-5)


def test_kept_matrices_give_the_same_energies() -> None:
    """As integrals at the positions."""
    model = _model()
    with torch.no_grad():
        kept = predict_batch(
            model, _batch(model, kept=("baseline", "overlap", "energy_core")), energies=True, forces=False
        )
    torch.testing.assert_close(kept.energies, _energies(model, _waters().records[:2]), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("label", "weights", "message"),
    [
        ("matrices", {"hamiltonian": 1.0}, "needs Hamiltonian matrices"),
        ("matrices", {"hamiltonian": 0.0, "alignment": 1.0}, "needs Hamiltonian matrices"),
        ("energy", {"energy": 1.0}, "needs energies"),
        ("forces", {"forces": 1.0}, "needs forces"),
        ("dipole", {"dipole": 1.0}, "needs dipoles"),
    ],
)
def test_missing_labels_are_an_error(label: str, weights: dict[str, float], message: str) -> None:
    """One record without a label is enough."""
    model, records = _model(), _waters().records
    bare = replace(records[1], **{label: {} if label == "matrices" else None})
    chosen = LossWeights(**weights)
    batch = _batch(model, (records[0], bare), ("overlap", "orbitals", "x", "y", "z"))
    wanted = {"energies": chosen.energy > 0, "forces": chosen.forces > 0, "dipoles": chosen.dipole > 0}
    prediction = predict_batch(model, batch, **wanted)
    with pytest.raises(ValueError, match=f"{message}, which some training records lack"):
        loss_terms(prediction, batch, chosen)


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="all loss weights are zero"):
        LossWeights(hamiltonian=0.0)
