"""Models of amons that correct a base level of theory: GFN2-xTB, an independent program, under a toy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.learning.settings import StudySettings
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.properties import LABELS
from ase_mlwave.reference.differences import base_labels, base_level, difference
from tests.calculators.contract import CalculatorContract
from tests.models.amons.springs import distorted

tblite = pytest.importorskip("tblite.ase")

BASE = "gfn2-xtb"
ROOT = Path(__file__).parents[2]


def corrected(folder: Path, base: str = BASE) -> str:
    """Fit springs minus GFN2-xTB, and save the model as one that corrects ``base``."""
    records = [record for formula in ("H2O", "CH3OH", "HCN") for record in distorted(formula, range(2))]
    learned = [difference(record, base_labels(BASE, record)) for record in records]
    settings = FitSettings(penalty=1e-5, force_penalty=1e-5, directions=6)
    fit = fit_amons(learned, "springs", settings, free_atoms=dict.fromkeys((1, 6, 7, 8), 0.0), base=base)
    data = TrainingData(source="springs", sha256="0" * 64, n_records=len(records))
    return str(ModelFolder.pack("amons", fit.model, training_data=data, card="# Springs").save(folder))


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return corrected(tmp_path_factory.mktemp("models") / "small")


class TestContract(CalculatorContract):
    calculator = AmonsCalculator
    measure = "novelty"
    formulas = ("H2O", "CH3OH", "HCN")
    law_tolerance = 2e-6  # tblite's self-consistency
    apart = 300.0  # dipoles of GFN2-xTB see each other far away
    force_tolerance = 1e-3
    displacement = 1e-3
    float32_tolerance = None

    def test_two_molecules_far_apart_add_up(self, calc: MlwaveCalculator) -> None:
        self.law_tolerance = 3e-4  # forces where tblite stops
        super().test_two_molecules_far_apart_add_up(calc)

    @pytest.fixture
    def model(self, small_model: str) -> str:
        return small_model


def gfn2(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
    return copy


def test_base_is_added_to_what_was_learned(small_model: str) -> None:
    calc = AmonsCalculator(small_model)
    (record,) = distorted("CH3OH", range(1))
    atoms = atoms_from_record(record)
    (result,) = calc.predict([atoms])
    assert result["energy"] == pytest.approx(LABELS["energy"].to_ase(record.energy), abs=0.02)
    np.testing.assert_allclose(result["forces"], LABELS["forces"].to_ase(record.forces), atol=0.8)
    assert abs(result["energy"] - gfn2(atoms).get_potential_energy()) > 1
    assert calc.members[0].config.settings["base"] == BASE


def test_terms_of_the_energy_and_cells_are_refused(small_model: str) -> None:
    calc = AmonsCalculator(small_model)
    with pytest.raises(PropertyNotImplementedError, match="'energies'"):
        calc.predict([molecule("H2O")], ["energies"])
    with pytest.raises(InputError, match="periodic"):
        calc.get_potential_energy(bulk("C"))
    assert "energies" in AmonsCalculator("amons-chno").implemented_properties


def test_missing_program_is_named_before_any_work(
    small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ase_mlwave.reference.levels.programs.find_spec", lambda name: None)
    base_level.cache_clear()
    missing = r"base level 'gfn2-xtb'.*pip install 'ase-mlwave\[xtb\]'"
    with pytest.raises(InputError, match=missing):
        AmonsCalculator(small_model)
    with pytest.raises(InputError, match=missing):
        AmonsCalculator.for_query("CO", base=BASE, database=tmp_path / "amons.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "gfn1-xtb"}, "is the reference"),
        ({"base": "gfn3-xtb"}, "base level 'gfn3-xtb'"),
        ({"base": BASE, "coarse": BASE}, "base or coarse"),
    ],
)
def test_base_that_makes_no_sense_is_refused(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        AmonsCalculator.for_query("CO", reference="gfn1-xtb", database=tmp_path / "amons.db", **options)
    assert not list(tmp_path.iterdir())


def test_cell_has_no_base(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for molecules"):
        AmonsCalculator.for_query(bulk("C"), reference="gfn1-xtb", base=BASE, database=tmp_path / "amons.db")


def test_correction_of_a_correction_is_refused(small_model: str, tmp_path: Path) -> None:
    """Nor can a model name itself, which would never end."""
    with pytest.raises(InputError, match="corrects 'gfn2-xtb' itself"):
        base_level(small_model)
    circle = corrected(tmp_path / "circle", base=str(tmp_path / "circle"))
    with pytest.raises(InputError, match="itself"):
        AmonsCalculator(circle)


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_shipped_correction_has_the_forces_of_its_reference() -> None:
    """On molecules of unseen formulas, a third of the error of GFN2-xTB; and they are derivatives."""
    held_out = read_dataset(ROOT / "datasets/chno_pbe_def2svp.npz").split("test").records[:6]
    calc = AmonsCalculator("amons-chno-gfn2", uncertainty="none")
    structures = [atoms_from_record(record) for record in held_out]
    forces = [result["forces"] for result in calc.predict(structures)]
    exact = [LABELS["forces"].to_ase(record.forces) for record in held_out]
    error = np.concatenate([np.abs(one - other).ravel() for one, other in zip(forces, exact, strict=True)])
    of_base = [gfn2(atoms).get_forces() for atoms in structures]
    error_of_base = np.concatenate([np.abs(one - other).ravel() for one, other in zip(of_base, exact, strict=True)])
    assert error.mean() < min(0.09, error_of_base.mean() / 3)
    numerical = calculate_numerical_forces(fresh(structures[0], calc), eps=1e-3, iatoms=[0])
    np.testing.assert_allclose(forces[0][:1], numerical, atol=2e-3)


def fresh(atoms: Atoms, calc: AmonsCalculator) -> Atoms:
    copy = atoms.copy()
    copy.calc = calc
    return copy


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_query_is_learned_as_a_correction(tmp_path: Path) -> None:
    """From few labels far better than without a base; kept by folder, learning curve and extension."""
    pytest.importorskip("rdkit")
    every_force = FitSettings(penalty=1e-6, force_penalty=1e-6, scale=5.0)
    options: dict[str, Any] = {"reference": "gfn1-xtb", "max_heavy": 2, "displaced": 0, "settings": every_force}
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    exact = atoms.copy()
    exact.calc = tblite.TBLite(method="GFN1-xTB", verbosity=0)
    calcs = [
        AmonsCalculator.for_query(atoms, database=tmp_path / "amons.db", base=base, **options) for base in (BASE, None)
    ]
    errors = [np.abs(calc.get_forces(atoms) - exact.get_forces()).mean() for calc in calcs]
    assert errors[0] < min(0.3 * errors[1], np.abs(gfn2(atoms).get_forces() - exact.get_forces()).mean() / 2)
    calc = calcs[0]
    energy = calc.get_potential_energy(atoms)
    assert calc.learning_curve()[-1].energy == pytest.approx(energy, abs=1e-6)
    again = AmonsCalculator(calc.parameters["model"])
    assert again.get_potential_energy(atoms) == energy
    assert (again.members[0].config.level, again.members[0].network.config.base) == ("gfn1-xtb", BASE)
    (added, *_) = again.extend(atoms, reference="gfn1-xtb", database=tmp_path / "amons.db")
    assert added.energy == pytest.approx(base_labels("gfn1-xtb", added).energy, abs=1e-8)  # as the reference says
    truth = exact.get_potential_energy()
    assert abs(again.get_potential_energy(atoms) - truth) < max(0.01, abs(energy - truth))


def test_labels_of_a_base_are_kept_beside_those_of_the_reference(tmp_path: Path) -> None:
    settings = StudySettings(reference="gfn1-xtb", base=BASE, database=tmp_path / "amons.db")
    assert settings.of_base is not None
    assert settings.of_base.address.parent == tmp_path
    assert settings.of_base.address != settings.address
    assert settings.fit.scale > StudySettings().fit.scale
