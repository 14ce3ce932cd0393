"""Errors of calculators against labels: every figure computed again with plain numpy from single calculations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.evaluation.energies import evaluate
from ase_mlwave.models.qdf.published.importing import import_published
from ase_mlwave.units import BOHR, HARTREE, HARTREE_PER_BOHR
from tests.calculators.labelled import labelled_molecules, random_models
from tests.calculators.morse import MorseCalculator, morse_folder

Array = NDArray[np.float64]
Deviations = list[tuple[Array, list[Array]]]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return labelled_molecules()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return random_models(tmp_path_factory.mktemp("committee"), 4)


def _structure(record: Record) -> Atoms:
    """Make the molecule without its labels, not by the way that the evaluation takes."""
    return Atoms(record.numbers, record.positions * 0.529177210544)  # rounded to 1e-10 Angstrom


@pytest.fixture(scope="module")
def deviations(data: Dataset, models: list[Path]) -> Deviations:
    return [_deviations(model, data) for model in models]


def _deviations(model: Path, data: Dataset) -> tuple[Array, list[Array]]:
    """Subtract labels from single calculations: meV, and meV/Angstrom for every molecule."""
    calc = QDFCalculator(model)
    energies, forces = [], []
    for record in data:
        atoms = _structure(record)
        atoms.calc = calc
        assert record.energy is not None
        assert record.forces is not None
        energies.append(1e3 * (atoms.get_potential_energy() - record.energy * HARTREE))
        forces.append(1e3 * (atoms.get_forces() - record.forces * HARTREE_PER_BOHR))
    return np.array(energies), forces


def test_figures_are_those_of_single_calculations(data: Dataset, models: list[Path], deviations: Deviations) -> None:
    energies, forces = deviations[0]
    sizes = np.array([len(record) for record in data])
    components = np.concatenate([one.ravel() for one in forces])
    result = evaluate(QDFCalculator(models[0]), data)
    wanted = {
        "energy_mae_meV": np.mean(np.abs(energies)),
        "energy_mae_meV_per_atom": np.mean(np.abs(energies) / sizes),
        "energy_median_meV": np.median(np.abs(energies)),
        "energy_max_meV": np.max(np.abs(energies)),
        "forces_mae_meV_per_A": np.mean(np.abs(components)),
        "forces_rmse_meV_per_A": np.sqrt(np.mean(components**2)),
        "forces_median_meV_per_A": np.median(np.abs(components)),
        "forces_max_meV_per_A": np.max(np.abs(components)),
    }
    assert result.figures == {name: pytest.approx(value, rel=1e-4) for name, value in wanted.items()}
    assert result.remarks == ()
    assert result.calibrations == ()


def test_errors_by_size_are_those_of_the_molecules_in_each_bin(
    data: Dataset, models: list[Path], deviations: Deviations
) -> None:
    energies, forces = deviations[0]
    heavy = np.array([sum(z > 1 for z in record.numbers) for record in data])
    assert sorted(set(heavy)) == [1, 2, 3]
    bins = evaluate(QDFCalculator(models[0]), data).by_size
    assert [one.heavy_atoms for one in bins] == ["1", "2", "3"]
    for one in bins:
        inside = heavy == int(one.heavy_atoms)
        assert one.n_molecules == inside.sum()
        assert one.figures["energy_mae_meV"] == pytest.approx(np.mean(np.abs(energies[inside])), rel=1e-4)
        components = np.concatenate([f.ravel() for f, chosen in zip(forces, inside, strict=True) if chosen])
        assert one.figures["forces_mae_meV_per_A"] == pytest.approx(np.mean(np.abs(components)), rel=1e-4)
    one_size = replace(data, records=[record for record in data if record.formula == data[0].formula])
    assert len(one_size) > 1
    assert evaluate(QDFCalculator(models[0]), one_size).by_size == ()


def test_committee_figures_are_those_of_its_mean_and_standard_deviation(
    data: Dataset, models: list[Path], deviations: Deviations
) -> None:
    sizes = np.array([len(record) for record in data])
    energies = np.array([energy for energy, _ in deviations])
    spread, error = energies.std(axis=0, ddof=1) / sizes, np.abs(energies.mean(axis=0)) / sizes
    forces = np.array([np.concatenate(force) for _, force in deviations])
    atom_spread = np.sqrt(forces.var(axis=0, ddof=1).sum(axis=1) / 3)
    atom_error = np.sqrt((forces.mean(axis=0) ** 2).sum(axis=1) / 3)
    result = evaluate(QDFCalculator(models), data)
    wanted = {
        "committee_energy_mae_meV": np.mean(error * sizes),
        "committee_energy_mae_meV_per_atom": np.mean(error),
        "committee_forces_mae_meV_per_A": np.mean(np.abs(forces.mean(axis=0))),
        "committee_forces_rmse_meV_per_A": np.sqrt(np.mean(forces.mean(axis=0) ** 2)),
        "committee_energy_spread_rms_meV_per_atom": np.sqrt(np.mean(spread**2)),
        "committee_energy_spread_error_spearman": _spearman(spread, error),
        "committee_energy_calibration_factor": np.sqrt(np.mean((error / spread) ** 2)),
        "committee_energy_rms_error_over_spread": np.sqrt(np.mean(error**2) / np.mean(spread**2)),
        "committee_forces_spread_rms_meV_per_A": np.sqrt(np.mean(atom_spread**2)),
        "committee_forces_spread_error_spearman": _spearman(atom_spread, atom_error),
        "committee_forces_calibration_factor": np.sqrt(np.mean((atom_error / atom_spread) ** 2)),
        "committee_forces_rms_error_over_spread": np.sqrt(np.mean(atom_error**2) / np.mean(atom_spread**2)),
    }
    alone = evaluate(QDFCalculator(models[0]), data).figures
    assert result.figures == alone | {name: pytest.approx(value, rel=1e-4) for name, value in wanted.items()}
    assert len(result.calibrations) == 2
    assert result.remarks == ()
    fewer = evaluate(QDFCalculator(models[:3]), data)
    assert any("with 3 models a few molecules" in remark for remark in fewer.remarks)


def _spearman(a: Array, b: Array) -> float:
    ranks = [np.argsort(np.argsort(one)) for one in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_labels_that_are_missing_are_left_out_with_a_remark(data: Dataset, models: list[Path]) -> None:
    calc = QDFCalculator(models[0])
    whole = evaluate(calc, data).figures
    bare = replace(data, records=[replace(record, forces=None) for record in data])
    result = evaluate(calc, bare)
    assert result.figures == {name: pytest.approx(v) for name, v in whole.items() if name.startswith("energy")}
    assert any("no forces in the data" in remark for remark in result.remarks)
    half = replace(data, records=[*data.records[:4], *bare.records[4:]], level="")
    result = evaluate(calc, half)
    assert result.figures["energy_mae_meV"] == pytest.approx(whole["energy_mae_meV"])
    some = evaluate(calc, replace(data, records=data.records[:4])).figures
    assert result.figures["forces_mae_meV_per_A"] == pytest.approx(some["forces_mae_meV_per_A"])
    assert f"forces: on the 4 molecules of {len(data)} that have them" in result.remarks
    assert any("does not say its level of theory" in remark for remark in result.remarks)
    forces_only = replace(data, records=[replace(record, energy=None) for record in data])
    assert {name.split("_")[0] for name in evaluate(calc, forces_only).figures} == {"forces"}


REFUSED: dict[str, tuple[Callable[[Dataset], Dataset], str]] = {
    "no molecules": (lambda d: replace(d, records=()), "has no molecules"),
    "no labels": (
        lambda d: replace(d, records=[replace(r, energy=None, forces=None) for r in d]),
        "nothing to measure: .* has no energies and no forces",
    ),
    "another level": (
        lambda d: replace(d, level="pbe/def2-svp"),
        "labelled at 'pbe/def2-svp' but the model was made for",
    ),
    "atomization": (
        lambda d: replace(d, level="gfn2-xtb atomization energy"),
        r"\(level 'gfn2-xtb atomization energy'\) have atomization energies, but the model predicts total energies",
    ),
    "unknown element": (
        lambda d: replace(d, records=[*d.records, record_from_atoms(molecule("SiH4"))]),
        r"molecule \d+ of .*does not know Si",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_do_not_fit_are_refused(data: Dataset, models: list[Path], case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        evaluate(QDFCalculator(models[0]), make(data))


def test_committee_of_one_model_twice_is_refused(data: Dataset, models: list[Path]) -> None:
    with pytest.raises(InputError, match="same weights; train them with different seeds"):
        evaluate(QDFCalculator([models[0], models[1], models[0]]), data)


@pytest.mark.usefixtures("morse_kind")
def test_molecules_beyond_the_domain_are_counted_not_skipped(tmp_path: Path) -> None:
    """Warnings are errors in these tests: the calculator's own are not shown for every molecule."""
    calc = MorseCalculator(morse_folder(thresholds={"n_pairs": 2}).save(tmp_path / "morse"))
    structures = [molecule("H2"), molecule("H2O"), molecule("H2O2")]
    energies = [one["energy"] for one in MorseCalculator(morse_folder().save(tmp_path / "free")).predict(structures)]
    records = [replace(record_from_atoms(atoms), energy=0.0) for atoms in structures]
    result = evaluate(calc, Dataset(tuple(records), "morse", "three molecules"))
    assert result.figures["out_of_domain_molecules"] == 2
    assert result.figures["energy_mae_meV"] == pytest.approx(1e3 * np.mean(np.abs(energies)))
    assert result.figures["energy_mae_in_domain_meV"] == pytest.approx(1e3 * abs(energies[0]))
    assert any("2 of 3 molecules are beyond the model's domain (n_pairs above 2)" in one for one in result.remarks)


@pytest.mark.usefixtures("morse_kind")
def test_dipoles_are_measured_where_there_are_labels(tmp_path: Path) -> None:
    calc = MorseCalculator(morse_folder().save(tmp_path / "morse"))
    atoms = molecule("H2O")
    (found,) = calc.predict([atoms], ["energy", "dipole"])
    record = replace(record_from_atoms(atoms), energy=0.0, dipole=found["dipole"] / BOHR + [0.1, 0.0, -0.2])
    figures = evaluate(calc, Dataset((record,), "morse", "one molecule")).figures
    assert figures["dipole_mae_me_A"] == pytest.approx(100 * BOHR)
    assert figures["dipole_max_me_A"] == pytest.approx(200 * BOHR)


def test_published_field_is_measured_by_its_atomization_energies(tmp_path: Path) -> None:
    files = Path(__file__).parents[1] / "models/qdf/published/files"
    folder = import_published(files / "energy.pth", files / "orbitaldict_3-21G.json").save(tmp_path / "published")
    calc = QDFCalculator(folder)
    records = []
    for name in ("H2O", "CH3OH", "HCN"):
        atoms = molecule(name)
        label = (calc.get_potential_energy(atoms) + 0.01 * len(atoms)) / HARTREE  # 10 meV an atom too high
        records.append(replace(record_from_atoms(atoms), energy=label, forces=np.zeros((len(atoms), 3))))
    level = "b3lyp/6-31g(2df,p) atomization energy"
    result = evaluate(calc, Dataset(tuple(records), level, "three molecules"))
    assert result.figures["energy_mae_meV_per_atom"] == pytest.approx(10, abs=1e-6)
    assert not any(name.startswith("forces") for name in result.figures)
    assert [remark for remark in result.remarks if "forces are left out: a model of the published field" in remark]
    with pytest.raises(InputError, match=r"have total energies, but the model predicts atomization energies"):
        evaluate(calc, Dataset(tuple(records), "b3lyp/6-31g(2df,p)", "three molecules"))
    with pytest.raises(InputError, match="labelled at 'pbe0 atomization energy' but the model was made for 'b3lyp"):
        evaluate(calc, Dataset(tuple(records), "pbe0 atomization energy", "three molecules"))
