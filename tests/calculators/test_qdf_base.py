"""Quantum deep fields that correct a base level of theory: GFN2-xTB, an independent program, under random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ase_mlwave.calculators import corrections
from ase_mlwave.calculators.levels import ModelLevel
from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.qdf.inference import predict_batch
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.properties import LABELS
from ase_mlwave.reference.differences import base_level
from ase_mlwave.systems.conversion import system_from_atoms
from tests.models.qdf.networks import random_network

tblite = pytest.importorskip("tblite.ase")

BASE = "gfn2-xtb"
ROOT = Path(__file__).parents[2]


def saved(folder: Path, network: QDF) -> str:
    data = TrainingData(source="none: random weights", sha256="0" * 64, n_records=1)
    return str(ModelFolder.pack("qdf", network, training_data=data, card="# Random weights").save(folder))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [saved(folder / str(seed), random_network(seed=seed, grid_level=2, base=BASE)) for seed in (3, 4)]


def displaced(formula: str = "CH3OH") -> Atoms:
    atoms = molecule(formula)
    atoms.rattle(0.05, seed=1)
    return atoms


def of_base(atoms: Atoms) -> tuple[float, NDArray[np.float64]]:
    copy = atoms.copy()
    copy.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
    return copy.get_potential_energy(), copy.get_forces()


def of_field(model: str, atoms: Atoms) -> tuple[float, NDArray[np.float64]]:
    (field,) = predict_batch(QDFCalculator(model).members[0].network_as(QDF), [system_from_atoms(atoms)], forces=True)
    return LABELS["energy"].to_ase(field.energy), LABELS["forces"].to_ase(field.forces)


def test_total_is_the_base_and_the_field(models: list[str]) -> None:
    calc, structures = QDFCalculator(models[0]), [displaced("CH3OH"), displaced("H2O")]
    for atoms, result in zip(structures, calc.predict(structures), strict=True):
        energies, forces = zip(of_base(atoms), of_field(models[0], atoms), strict=True)
        assert result["energy"] == pytest.approx(sum(energies), abs=1e-6)
        np.testing.assert_allclose(result["forces"], np.sum(forces, axis=0), atol=1e-5)
        assert np.abs(forces[1]).max() > 0.1


def test_forces_are_derivatives_of_the_sum_and_the_hessian_theirs(models: list[str]) -> None:
    atoms = displaced("H2")
    atoms.calc = QDFCalculator(models[0])
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, eps=1e-3), atol=1e-3)
    hessian = atoms.calc.hessian(atoms)
    atoms.positions[0, 2] += 1e-3
    np.testing.assert_allclose(hessian[2], (forces - atoms.get_forces()).ravel() / 1e-3, atol=0.1)


def test_rotation_turns_forces_and_leaves_the_energy(models: list[str]) -> None:
    calc, atoms, turn = QDFCalculator(models[0], grid_level=4), displaced(), Rotation.random(rng=2).as_matrix()
    turned = atoms.copy()
    turned.positions = atoms.positions @ turn.T
    one, other = calc.predict([atoms, turned])
    assert other["energy"] == pytest.approx(one["energy"], abs=4e-3)
    np.testing.assert_allclose(other["forces"], one["forces"] @ turn.T, atol=2e-2)


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_committee_computes_the_base_once(models: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    counted, labels = [], corrections.base_labels
    monkeypatch.setattr(corrections, "base_labels", lambda *given: (counted.append(given), labels(*given))[1])
    atoms = displaced("H2O")
    atoms.calc = QDFCalculator(models)
    energy = atoms.get_potential_energy()
    fields = [of_field(model, atoms)[0] for model in models]
    assert len(counted) == 1
    assert energy == pytest.approx(of_base(atoms)[0] + np.mean(fields), abs=1e-6)
    assert atoms.calc.extras["energy_spread"] == pytest.approx(np.std(fields, ddof=1), abs=1e-6)


def test_what_the_base_has_not_is_refused(models: list[str]) -> None:
    calc, ion = QDFCalculator(models[0]), molecule("H2O")
    with pytest.raises(PropertyNotImplementedError, match="'energies'"):
        calc.predict([ion], ["energies"])
    ion.info["charge"] = 1
    with pytest.raises(InputError, match="charge"):
        calc.get_potential_energy(ion)
    assert "energies" in QDFCalculator("qdf-chno").implemented_properties


def test_missing_program_is_named_before_any_work(models: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_mlwave.reference.levels.programs.find_spec", lambda name: None)
    base_level.cache_clear()
    with pytest.raises(InputError, match=r"base level 'gfn2-xtb'.*pip install 'ase-mlwave\[xtb\]'"):
        QDFCalculator(models[0])


def test_labels_of_a_correction_say_so(models: list[str], tmp_path: Path) -> None:
    """And none is corrected itself."""
    assert ModelLevel(models[0]).settings()["base"] == BASE
    assert "base" not in ModelLevel("qdf-chno").settings()
    with pytest.raises(InputError, match="corrects 'gfn2-xtb' itself"):
        QDFCalculator(saved(tmp_path / "circle", random_network(base=models[0])))


def test_base_alone_keeps_nuclei_apart() -> None:
    """A model that stands alone has a wall of its own, which a base would add a second time."""
    close = system_from_atoms(Atoms("CN", [[0, 0, 0], [0, 0, 0.3]]))
    alone, correcting = random_network(pair_functions=0), random_network(pair_functions=0, base=BASE)
    wall, none = (network.pair_energies(network.collate([close])).item() for network in (alone, correcting))
    assert wall > 1
    assert none == 0


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_shipped_correction_has_the_forces_of_its_reference() -> None:
    """On molecules of unseen formulas, less than half of the error of GFN2-xTB."""
    held_out = read_dataset(ROOT / "datasets/chno_pbe_def2svp.npz").split("test").records[:6]
    structures = [atoms_from_record(record) for record in held_out]
    found = QDFCalculator("qdf-chno-gfn2").predict(structures, ["forces"])
    errors, errors_of_base = [], []
    for record, atoms, result in zip(held_out, structures, found, strict=True):
        exact = LABELS["forces"].to_ase(record.forces)
        errors.append(np.abs(result["forces"] - exact).ravel())
        errors_of_base.append(np.abs(of_base(atoms)[1] - exact).ravel())
    assert np.concatenate(errors).mean() < 0.5 * np.concatenate(errors_of_base).mean()
