"""Models as levels of theory: labels are the model's, carry its identity, and are never mixed with others."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculatorError, InputError
from typer.testing import CliRunner

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.calculators.levels import ModelLevel
from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.models.amons.learning.copies import sampler_level
from ase_mlwave.models.amons.learning.extension import remembered_study
from ase_mlwave.models.amons.learning.settings import Displacements, StudySettings
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.folder import ModelFolder, locate
from ase_mlwave.reference.failures import kind_of_error
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.sampling import level_calculator
from ase_mlwave.units import HARTREE


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def water(shift: float = 0.0) -> Atoms:
    atoms = molecule("H2O")
    atoms.positions[1, 2] += shift
    return atoms


def changed_copy(folder: Path, **config: object) -> Path:
    """Save the water model anew, with another description or, without one, other weights."""
    model = ModelFolder.load("phisnet-water")
    if config:
        return replace(model, config=model.config.model_copy(update=config)).save(folder)
    name = next(name for name in model.weights if model.weights[name].is_floating_point())
    return replace(model, weights={**model.weights, name: 1.001 * model.weights[name]}).save(folder)


@pytest.mark.parametrize("text", ["phisnet-water", "phisnet-water energy=wavefunction", "qdf-chno"])
def test_the_name_of_a_model_s_level_parses_to_the_same_level(text: str) -> None:
    level = LevelOfTheory.parse(text)
    again = LevelOfTheory.parse(level.name)
    assert again == level
    assert (again.name, again.settings()) == (level.name, level.settings())
    assert pickle.loads(pickle.dumps(level)) == level
    assert len(pickle.dumps(level)) < 10_000, "a level is sent to workers with every molecule"
    digest = hashlib.sha256((locate(text.split()[0]) / "model.safetensors").read_bytes()).hexdigest()
    assert level.settings()["weights_sha256"] == digest
    assert level.name.endswith(f"weights={digest[:12]}")


def test_a_folder_is_the_level_of_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ModelFolder.load("phisnet-water").save(tmp_path / "runs" / "phisnet-water")
    assert LevelOfTheory.parse(str(folder)) == LevelOfTheory.parse("phisnet-water")
    monkeypatch.chdir(tmp_path)
    assert LevelOfTheory.parse("runs/phisnet-water") == LevelOfTheory.parse("phisnet-water")
    ModelFolder.load("phisnet-water").save(tmp_path / "pbe" / "def2-svp")
    assert LevelOfTheory.parse("pbe/def2-svp").settings()["program"] == "pyscf", "no folder stands for a functional"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phisnet-wasser", "Did you mean 'phisnet-water'"),
        ("phisnet-water energy=best", "energy is 'best'"),
        ("phisnet-water grid=3", "'grid=3' is no setting of the level 'phisnet-water'"),
        ("phisnet-water weights=0123456789ab", "it is another model than the one that made those labels"),
        ("phisnet-water weights=b70d", "not 'b70d'"),
        ("qdf-chno energy=scf", "Leave energy= out"),
        ("no/such-model", "PySCF knows no functional 'no'"),
    ],
)
def test_levels_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LevelOfTheory.parse(text)


def test_a_folder_whose_name_cannot_be_a_level_s_is_refused(tmp_path: Path) -> None:
    folder = ModelFolder.load("phisnet-water").save(tmp_path / "my model")
    with pytest.raises(InputError, match="has blanks"):
        ModelLevel(folder)


def test_labels_of_a_model_are_what_it_computes() -> None:
    """The functional of a density that is not self-consistent lies above the method's own energy."""
    atoms = molecule("H2O")
    atoms.rattle(0.03, seed=0)
    calc = PhiSNetCalculator("phisnet-water", energy="functional", device="cpu")
    expected = calc.predict([atoms], ("energy", "forces", "dipole"))[0]
    level = LevelOfTheory.parse("phisnet-water")
    label = level.label(atoms)
    assert label.energy is not None
    assert label.energy * HARTREE == pytest.approx(expected["energy"], abs=1e-6)
    assert label.matrices == {}
    assert isinstance(level_calculator(level, label), PhiSNetCalculator)
    reference = LevelOfTheory.parse("pbe/def2-svp").label(atoms)
    assert reference.energy is not None
    assert -1e-8 < label.energy - reference.energy < 1e-4
    np.testing.assert_allclose(label.forces, reference.forces, atol=1e-3)  # type: ignore[arg-type]
    np.testing.assert_allclose(label.dipole, reference.dipole, atol=1e-2)  # type: ignore[arg-type]


def test_labels_of_other_weights_are_not_mixed(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    other = changed_copy(tmp_path / "phisnet-water")
    data = tmp_path / "water.db"
    options = {"executor": thread}
    label_geometries([water()], data, "phisnet-water energy=wavefunction", **options)
    for level in (f"{other} energy=wavefunction", "phisnet-water", "pbe/def2-svp"):
        with pytest.raises(InputError, match="holds labels of the level 'phisnet-water energy=wavefunction weights="):
            label_geometries([water(0.1)], data, level, **options)
    file = label_geometries([water(0.1)], data, "phisnet-water energy=wavefunction", **options)
    assert file.counts() == {"labelled": 2, "failed": 0, "pending": 0}


def test_what_a_model_refuses_is_a_failure_of_that_molecule_alone(tmp_path: Path, thread: ThreadPoolExecutor) -> None:
    hydroxide = Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"charge": -1})
    radical = Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"spin": 1})
    molecules = [water(), hydroxide, radical, molecule("CH4")]
    file = label_geometries(molecules, tmp_path / "mixed.db", "phisnet-water energy=wavefunction", executor=thread)
    assert file.counts() == {"labelled": 1, "failed": 3, "pending": 0}
    assert {failure.kind for failure in file.failures()} == {"input"}
    reasons = " ".join(failure.reason for failure in file.failures())
    for words in ("info['charge'] is -1", "info['spin'] is 1", "does not know C"):
        assert words in reasons


def test_molecules_past_the_limits_have_no_labels_and_past_the_thresholds_a_mark(
    tmp_path: Path, thread: ThreadPoolExecutor
) -> None:
    """Silently, since a thousand labels would give a thousand warnings."""
    for name, config, state in (
        ("refusing", {"limits": {"domain_distance": 1e-6}}, "failed"),
        ("doubting", {"thresholds": {"domain_distance": 1e-6}}, "labelled"),
    ):
        level = f"{changed_copy(tmp_path / name, **config)} energy=wavefunction"
        file = label_geometries([water()], tmp_path / f"{name}.db", level, executor=thread)
        assert file.counts()[state] == 1
    (failure,) = DatasetFile(tmp_path / "refusing.db").failures()
    assert failure.kind == "input"
    assert "unlike anything that the model was trained on" in failure.reason
    (record,) = DatasetFile(tmp_path / "doubting.db").read_some("out_of_domain", ["doubtful"])
    assert LevelOfTheory.parse("phisnet-water energy=wavefunction").label(record).info == {}, "a new label, a new mark"


def test_a_machine_without_the_model_is_to_blame_and_not_the_molecule(tmp_path: Path) -> None:
    folder = ModelFolder.load("phisnet-water").save(tmp_path / "model")
    level = LevelOfTheory.parse(f"{folder} energy=wavefunction")
    (folder / "config.json").unlink()
    with pytest.raises(CalculatorError, match="cannot be used here") as caught:
        level.load()
    assert kind_of_error(caught.value) == "environment"


def test_copies_of_amons_are_drawn_with_the_faster_method() -> None:
    pytest.importorskip("tblite")
    for text in ("phisnet-water", "phisnet-water energy=wavefunction", "qdf-chno"):
        assert sampler_level(Displacements(), LevelOfTheory.parse(text)).name == "gfn2-xtb"


def test_a_query_is_learned_from_labels_of_a_model(tmp_path: Path) -> None:
    options = {"reference": "phisnet-chno", "database": tmp_path / "amons.db", "displaced": 0, "uncertainty": "none"}
    query = molecule("CH3OH")
    calc = AmonsCalculator.for_query(query, max_heavy=2, **options)
    level = LevelOfTheory.parse("phisnet-chno")
    assert calc.members[0].config.level == DatasetFile(tmp_path / "amons.db").level == level.name
    (label,) = (record for record in DatasetFile(tmp_path / "amons.db").read() if len(record) == len(query))
    assert label.energy is not None
    assert calc.get_potential_energy(query) == pytest.approx(label.energy * HARTREE, abs=0.2)
    with pytest.raises(InputError, match=r"holds labels of the level 'phisnet-chno .*, not 'pbe/def2-svp'"):
        AmonsCalculator.for_query(query, max_heavy=1, **{**options, "reference": "pbe/def2-svp"})


def test_amons_that_a_model_does_not_serve_are_refused_before_any_label(tmp_path: Path) -> None:
    for smiles, reason in (("C[NH3+]", "'charge'. is 1"), ("CS", "does not know S")):
        database = tmp_path / f"{reason[-1]}.db"
        with pytest.raises(InputError, match=f"2 amons cannot be labelled .*{reason}.*Nothing was labelled"):
            AmonsCalculator.for_query(smiles, reference="phisnet-chno", max_heavy=2, displaced=0, database=database)
        assert not database.exists()


@pytest.mark.slow
def test_free_atoms_of_a_closed_shell_model_are_those_of_its_method(tmp_path: Path) -> None:
    """Water alone does not tell oxygen from hydrogen; the database stays one of the model's labels alone."""
    options = {"reference": "phisnet-water", "database": tmp_path / "amons.db", "displaced": 0}
    calc = AmonsCalculator.for_query(molecule("H2O"), max_heavy=1, **options)
    assert calc.study is not None
    hydrogen = LevelOfTheory.parse("pbe/def2-svp").label(Atoms("H", info={"spin": 1}))
    assert calc.study.free_atoms.keys() == {1, 8}
    assert calc.study.free_atoms[1] == pytest.approx(hydrogen.energy, abs=1e-8)
    assert {len(record) for record in DatasetFile(tmp_path / "amons.db").read()} == {3}
    config = calc.members[0].network_as(AmonModel).config
    settings = StudySettings(reference="phisnet-water", database=tmp_path / "amons.db")
    assert remembered_study(config, settings).free_atoms == pytest.approx(calc.study.free_atoms), (
        "of a loaded model, too"
    )


@pytest.mark.slow
def test_mlwave_label_takes_models(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "waters.extxyz", [water(), water(0.1), molecule("CH4")])
    words = ["label", str(tmp_path / "waters.extxyz"), str(tmp_path / "waters.db")]
    result = CliRunner().invoke(app, [*words, "--level", "phisnet-water energy=wavefunction"])
    assert result.exit_code == 1
    assert "2 labelled, 1 failed at phisnet-water energy=wavefunction weights=" in " ".join(result.stderr.split())
    assert "does not know C" in result.stderr


def test_labels_are_those_of_the_response_where_it_is_measured(tmp_path: Path) -> None:
    assert LevelOfTheory.parse("phisnet-chno").settings()["energy"] == "response"
    assert LevelOfTheory.parse("phisnet-chno energy=functional").settings()["energy"] == "functional"
    assert LevelOfTheory.parse("phisnet-water").settings()["energy"] == "functional"
    measured = changed_copy(tmp_path / "measured", errors={"response_energy_mae_meV": 0.5})
    assert LevelOfTheory.parse(str(measured)).settings()["energy"] == "response"
