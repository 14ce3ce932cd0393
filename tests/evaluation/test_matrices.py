"""Errors of `PhiSNetCalculator` level by level, and of a committee of two, against the committee calculator itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from ase.calculators.calculator import InputError

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.evaluation.matrices import evaluate_phisnet
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.units import BOHR, HARTREE
from tests.calculators.waters import MODEL

LABELLED = Path(__file__).parents[1] / "data" / "files" / "waters_pbe_def2svp.db"


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    model = ModelFolder.load(MODEL)
    network = model.build("cpu", torch.float64)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data += 1e-3 * parameter.abs().mean() * noise
    packed = ModelFolder.pack("phisnet", network, training_data=model.config.training_data, card=model.card)
    return packed.save(tmp_path / "other")


@pytest.fixture
def waters() -> Dataset:
    dataset = read_dataset(LABELLED)
    return Dataset(dataset.records[:3], dataset.level, dataset.source)


def test_committee_is_measured_level_by_level(waters: Dataset, other_model: Path) -> None:
    committee = PhiSNetCalculator([MODEL, other_model])
    result = evaluate_phisnet(committee, waters, levels=["wavefunction"], cycles=False)
    assert committee.parameters["energy"] == "wavefunction"
    errors, spreads, atom_errors, atom_spreads = [], [], [], []
    for record in waters:
        atoms = atoms_from_record(record)
        reference, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = committee
        atom_errors.extend(1e3 * np.linalg.norm(atoms.get_forces() - forces, axis=1) / np.sqrt(3))
        errors.append(1e3 * abs(atoms.get_potential_energy() - reference) / 3)
        spreads.append(1e3 * committee.extras["energy_spread"] / 3)
        atom_spreads.extend(1e3 * committee.extras["forces_spread"] / np.sqrt(3))
    figures = {key.removeprefix("wavefunction_committee_"): value for key, value in result.figures.items()}
    ratio = np.array(errors) / np.array(spreads)
    atom_ratio = np.array(atom_errors) / np.array(atom_spreads)
    assert figures["energy_mae_meV_per_atom"] == pytest.approx(np.mean(errors), rel=1e-3)
    assert figures["energy_calibration_factor"] == pytest.approx(np.sqrt(np.mean(ratio**2)), rel=1e-3)
    assert figures["forces_calibration_factor"] == pytest.approx(np.sqrt(np.mean(atom_ratio**2)), rel=1e-3)
    assert "hamiltonian_mae_uHa" in result.figures
    assert [panel.title for panel in result.calibrations] == [
        "wavefunction: energy per atom",
        "wavefunction: force components",
    ]
    assert sum("accident" in remark for remark in result.remarks) == 1


def test_molecules_outside_at_any_level_are_counted(waters: Dataset, tmp_path: Path) -> None:
    model = ModelFolder.load(MODEL)
    thresholds = {**model.config.thresholds, "energy_uncertainty_per_atom": 1e-12}
    limits = {**model.config.limits, "energy_uncertainty_per_atom": 1e3}
    config = model.config.model_copy(update={"thresholds": thresholds, "limits": limits})
    calc = PhiSNetCalculator(replace(model, config=config).save(tmp_path / "doubtful"))
    for levels in (["functional", "wavefunction"], ["wavefunction", "functional"]):
        result = evaluate_phisnet(calc, waters, levels=levels, cycles=False)
        assert result.figures["out_of_domain_molecules"] == 3
        assert any("3 of 3 molecules are beyond the model's domain at functional" in one for one in result.remarks)


def test_dipoles_are_measured_of_the_predicted_density(waters: Dataset, other_model: Path) -> None:
    first = PhiSNetCalculator(MODEL).predict([atoms_from_record(record) for record in waters], ["dipole"])
    shifts = (0.0, 0.3, None)
    records = [
        replace(record, dipole=None if shift is None else one["dipole"] / BOHR + shift)
        for record, one, shift in zip(waters, first, shifts, strict=True)
    ]
    calc = PhiSNetCalculator([MODEL, other_model], energy="functional")
    result = evaluate_phisnet(calc, replace(waters, records=tuple(records)), levels=(), cycles=False)
    assert calc.parameters["energy"] == "functional"
    assert result.figures["dipole_mae_me_A"] == pytest.approx(1e3 * 0.15 * BOHR)
    assert result.figures["dipole_rmse_me_A"] == pytest.approx(1e3 * 0.3 * BOHR / np.sqrt(2))
    assert result.figures["committee_dipole_mae_me_A"] != pytest.approx(1e3 * 0.15 * BOHR)
    assert [remark for remark in result.remarks if "dipole" in remark or "calibration" in remark] == [
        "dipoles: on the 2 molecules of 3 that have them"
    ]


def test_levels_with_orbitals_of_their_own_have_errors_of_orbital_energies(waters: Dataset) -> None:
    some = replace(waters, records=(waters.records[0], replace(waters.records[1], matrices={})))
    calc = PhiSNetCalculator(MODEL)
    figures = evaluate_phisnet(calc, some, levels=["functional", "response", "scf"], cycles=False).figures
    mole = build_mole(some.records[0].numbers, some.records[0].positions, "def2-svp")
    H, S = some.records[0].matrices["hamiltonian"], mole.intor("int1e_ovlp")
    reference = scipy.linalg.eigh(H, S, eigvals_only=True)
    calc.set(energy="response")
    (outcome,) = calc.predict_outcomes([atoms_from_record(some.records[0])], ["energy"])
    errors = (outcome.extras["orbital_energies"] - reference)[:6]
    assert figures["response_occupied_energies_mae_uHa"] == pytest.approx(1e6 * np.abs(errors[:5]).mean())
    assert figures["response_gap_mae_meV"] == pytest.approx(1e3 * HARTREE * abs(errors[5] - errors[4]))
    assert figures["scf_occupied_energies_mae_uHa"] < 20  # the labels converged to 1e-10 Hartree, this to 1e-9
    of_response, of_matrix = (figures[f"{one}occupied_energies_mae_uHa"] for one in ("response_", ""))
    assert of_response < 0.5 * of_matrix
    assert figures["response_gap_mae_meV"] < figures["gap_mae_meV"]
    assert "functional_occupied_energies_mae_uHa" not in figures  # those of the matrix


def test_unknown_level_is_refused_before_any_work(waters: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calc = PhiSNetCalculator(MODEL)

    def work(*_: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(calc, "_compute", work)
    with pytest.raises(InputError, match=r"no energy level 'wave'\. Did you mean 'wavefunction'"):
        evaluate_phisnet(calc, waters, levels=["functional", "wave"])
