"""``mlwave train`` with ``kind: amons``: from a data set to a model that the calculator loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.evaluation.energies import evaluate
from ase_mlwave.models.amons.training.run import train
from ase_mlwave.models.amons.training.settings import TrainingSettings
from tests.models.amons.springs import distorted


@pytest.fixture
def data(tmp_path: Path) -> Path:
    kinds = {"CH3OH": "CO", "CH4": "C", "H2O": "O"}
    records = []
    for formula, smiles in kinds.items():
        for n, record in enumerate(distorted(formula, range(16))):
            split = "valid" if n % 8 == 7 else "train"
            records.append(record.with_info(smiles=smiles, split=split))
    path = tmp_path / "springs.db"
    write_dataset(path, Dataset(records=tuple(records), level="springs", source="springs"))
    return path


def settings(data: Path, **changes: object) -> TrainingSettings:
    model = {"elements": ["O", "C", "H"], "level": "springs"}
    given = {"data": str(data), "output": str(data.parent / "run"), "model": model, "curve": (0.5,)}
    return TrainingSettings.model_validate(given | changes)


def test_run_ends_in_a_model_that_the_calculator_loads(data: Path) -> None:
    folder = train(settings(data), progress=False)
    curve = json.loads((folder.parent / "learning_curve.json").read_text(encoding="utf-8"))
    assert [point["n_molecules"] for point in curve] == [21, 42]
    assert curve[1]["forces"] < curve[0]["forces"]
    assert (folder.parent / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    calc = AmonsCalculator(folder)
    found = evaluate(calc, read_dataset(data).split("valid")).figures
    assert found["forces_mae_meV_per_A"] == pytest.approx(curve[1]["forces"], rel=1e-6)
    assert calc.members[0].config.training_data.n_records == 42
    with pytest.raises(InputError, match="holds a model already"):
        train(settings(data), progress=False)
    assert train(settings(data), resume=True, progress=False) == folder


def test_run_learns_what_a_base_level_lacks(data: Path) -> None:
    pytest.importorskip("tblite")
    model = {"elements": ["O", "C", "H"], "level": "springs", "base": "gfn2-xtb"}
    folder = train(settings(data, model=model, fit={"basis": 100}), progress=False)
    curve = json.loads((folder.parent / "learning_curve.json").read_text(encoding="utf-8"))
    calc = AmonsCalculator(folder)
    assert calc.members[0].network.config.base == "gfn2-xtb"
    found = evaluate(calc, read_dataset(data).split("valid")).figures  # against the data's level, springs
    assert found["forces_mae_meV_per_A"] == pytest.approx(curve[1]["forces"], rel=1e-3)
    with pytest.raises(InputError, match="base level 'gfn9-xtb'"):
        train(settings(data, model=model | {"base": "gfn9-xtb"}, output=str(data.parent / "other")), progress=False)
    assert not (data.parent / "other").exists()


def test_data_of_another_level_are_refused(data: Path) -> None:
    model = {"elements": ["H", "C", "O"], "level": "pbe/def2-svp"}
    with pytest.raises(InputError, match=r"'springs' but model\.level is 'pbe/def2-svp'"):
        train(settings(data, model=model), progress=False)


def test_unknown_settings_of_the_representation_are_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("{data: a.db, output: b, model: {elements: [H], level: x}}", encoding="utf-8")
    assert TrainingSettings.read(path, ["model.representation.power=4"]).model.slatm().power == 4
    with pytest.raises(InputError, match=r"powr.*power"):
        TrainingSettings.read(path, ["model.representation.powr=4"])
    with pytest.raises(InputError, match="shares between 0 and 1"):
        TrainingSettings.read(path, ["curve=[2.0]"])
