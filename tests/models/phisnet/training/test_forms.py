"""Quadratic forms of a learned potential, against the matrices that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule
from pyscf import dft

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.training.forms import PotentialForms, potential_forms
from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.quantum.auxiliary import monopoles, potential_matrices
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.integrals import integral_arrays
from ase_mlwave.units import BOHR
from tests.models.phisnet.training.runs import MODEL, WATERS, tiny_settings

AUXILIARY = "def2-universal-jkfit"


def _example() -> tuple[Any, ...]:
    """Compute a Kohn-Sham matrix of water, less T, the nuclei and their screening, and its forms."""
    atoms = molecule("H2O")
    numbers, positions = atoms.numbers, atoms.positions / BOHR
    mole = build_mole(numbers, positions, "def2-svp")
    mean_field = dft.RKS(mole, xc="pbe").density_fit()
    mean_field.kernel()
    residual = mean_field.get_fock() - mean_field.get_hcore() - integral_arrays(mole, ["sap"])["sap"]
    helper = build_mole(numbers, positions, AUXILIARY)
    forms = potential_forms(mole, helper, residual, mean_field.mo_coeff, mean_field.mo_energy)
    return numbers, positions, mean_field, residual, forms


def test_forms_are_mean_squares_of_matrices() -> None:
    numbers, positions, mean_field, residual, forms = _example()
    tensors = {name: torch.from_numpy(array) for name, array in forms.items()}
    change = 0.02 * torch.randn(
        len(forms["potential"]), dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    predicted = tensors["potential"][:, 0] + change
    terms = PotentialForms.of([tensors, tensors]).terms(torch.cat([predicted, predicted]))
    r = torch.from_numpy(positions)
    error = potential_matrices(r, [numbers], "def2-svp", AUXILIARY, predicted).view(residual.shape).numpy() - residual
    C, e, n = mean_field.mo_coeff, mean_field.mo_energy, mean_field.mol.nelectron // 2
    seen = C.T @ error @ C
    mixing = seen[:n, n:] / (e[None, n:] - e[:n, None])
    expected = {
        "hamiltonian": np.sqrt((error**2).mean()),
        "density": np.sqrt((mixing**2).mean()),
        "occupied": np.abs(seen.diagonal()[:n]).mean(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(float(terms[name]), value, rtol=1e-3)


def test_a_neutral_potential_gives_a_kohn_sham_matrix() -> None:
    """All but a hundredth of what the screened nuclei leave out of PBE's matrix."""
    numbers, positions, _, residual, forms = _example()
    tensors = {name: torch.from_numpy(array) for name, array in forms.items()}
    terms = PotentialForms.of([tensors]).terms(tensors["potential"][:, 0])
    assert float(terms["hamiltonian"]) < 0.01 * np.sqrt((residual**2).mean())
    charges = monopoles(build_mole(numbers, positions, AUXILIARY))
    assert abs(float(forms["potential"][:, 0] @ charges)) < 1e-9


def test_a_trained_potential_is_better_than_screened_nuclei(tmp_path: Path) -> None:
    model = {**MODEL, "auxiliary": AUXILIARY}
    loss = {"hamiltonian": 1.0, "density": 0.5, "occupied": 0.3}
    folder = train(tiny_settings(tmp_path / "run", model=model, loss=loss), progress=False)
    network = ModelFolder.load(folder).build()
    assert network.config.overlap_penalty == 0
    records = read_dataset(WATERS).split("valid").records
    batch = predict_batch(network, records)
    learned = torch.cat([(H - record_matrix(r)).flatten() for H, r in zip(batch.hamiltonians, records, strict=True)])
    left_out = torch.cat([record_matrix(r).flatten() for r in records]) - batch.exact.baseline
    assert float(learned.square().mean()) < 0.1 * float(left_out.square().mean())


def record_matrix(record: Record) -> torch.Tensor:
    """Give a record's H, (M, M)."""
    return torch.from_numpy(np.array(record.matrices["hamiltonian"]))


@pytest.mark.parametrize("name", ["alignment", "energy", "forces"])
def test_what_a_potential_cannot_learn_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"loss\.{name}=0"):
        tiny_settings(tmp_path, model={**MODEL, "auxiliary": AUXILIARY}, loss={"hamiltonian": 1.0, name: 1.0})
