from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ase_mlwave import AmonsCalculator, read_dataset
from ase_mlwave.cli import _recipe
from ase_mlwave.cli._recipe import STEPS, Recipe
from ase_mlwave.cli.main import app
from ase_mlwave.reference import runs
from tests.commands import ROOT

#: Water learned from GFN2-xTB, a fit without steps: all four steps in a CPU-second.
RECIPE = """
folder: {folder}
sample: {{molecule: H2O, number: 5, temperature: [300, 600], interval: 2, equilibration: 5}}
label: {{level: gfn2-xtb, split: "train=0.6,valid=0.2,test=0.2"}}
train: {{kind: amons, fit: {{variance_rows: 8}}}}
"""


@pytest.fixture(autouse=True)
def _no_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "process_pool", lambda n_workers: ThreadPoolExecutor(1))
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    pytest.importorskip("tblite")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(folder=tmp_path / "water"), encoding="utf-8")
    return path


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["run", *map(str, words)])
    return result.exit_code, " ".join(result.output.split())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_file_leads_from_a_molecule_to_a_measured_model(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "water"
    code, output = run(recipe)
    assert code == 0, output
    assert read_dataset(folder / "labels.db").splits == {"train": 6, "valid": 2, "test": 2}
    errors = json.loads((folder / "errors.json").read_text(encoding="utf-8"))
    assert (errors["n"], errors["energy_mae_meV"] < 500) == (2, True)
    card = (folder / "train" / "model" / "README.md").read_text(encoding="utf-8")
    assert f"| energy_mae_meV | {errors['energy_mae_meV']:.4g} |" in card
    assert AmonsCalculator(folder / "train" / "model").members[0].config.level == "gfn2-xtb"

    before = files(folder)
    code, output = run(recipe)  # once more: nothing to do, nothing changed
    assert (code, output.count("is there")) == (0, len(STEPS))
    assert files(folder) == before

    code, output = run(recipe, "train.fit.variance_rows=4")
    assert code == 2
    assert "train.fit was {'variance_rows': 8} and is {'variance_rows': 4}" in output
    assert "--redo train`" in output
    assert files(folder) == before
    code, output = run(recipe, "train.fit.variance_rows=4", "--redo", "train")
    assert (code, output.count("is there")) == (0, 2), output
    assert files(folder)["labels.db"] == before["labels.db"]
    assert run(recipe, "train.fit.variance_rows=4", "label.workers=2")[0] == 0  # where, not what

    (folder / "geometries.extxyz").write_text("1\n\nH 0 0 0\n", encoding="utf-8")
    code, output = run(recipe, "train.fit.variance_rows=4")
    assert (code, "geometries.extxyz is not what the step sample left" in output) == (2, True)


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_step_is_gone_on_with(step: str, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def interrupted(chosen: Recipe, name: str, **options: Any) -> None:
        begun.append(name)
        if name == step and begun.count(step) == 1:
            raise KeyboardInterrupt
        Path(chosen.folder, f"{name}.done").touch()

    monkeypatch.setattr(_recipe, "do_step", interrupted)
    monkeypatch.setattr(
        _recipe.State, "result", lambda self, name: str(Path(self.recipe.folder, f"{name}.done").exists())
    )
    code, output = run(recipe)
    assert code == 130
    assert f"stopped in the step {step}. Go on with mlwave run {recipe}" in output
    assert run(recipe)[0] == 0
    assert begun == sorted([*STEPS, step], key=STEPS.index)


def test_dry_run_says_what_it_takes_and_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    code, output = run(recipe, "--dry-run")
    assert code == 0, output
    assert re.search(r"sample 10 geometries: 60 forces at gfn2-xtb, [\d.]+ m?s each", output)
    assert re.search(r"label 10 labels at gfn2-xtb, 0 of them there; [\d.]+ m?s each", output)
    assert "amons: a fit to 6 molecules" in output
    assert re.search(r"errors on 2 molecules, [\d.]+ m?s each, and the card", output)
    assert re.search(r"in all about \d+ (s|min), .* measured on one H2O, 3 atoms", output)
    assert list(tmp_path.iterdir()) == [recipe]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("smaple.number=3", "there is no setting 'smaple'. Did you mean 'sample'?"),
        ("sample.nubmer=3", "there is no setting 'sample.nubmer'. Did you mean 'number'?"),
        ("sample.molecule=nothing", "no molecule that ASE knows"),
        ("label.level=gfn3-xtb", "Did you mean 'gfn2-xtb'"),
        ("label.split=train=1", "evaluate.split='test' is not in label.split='train=1'"),
        ("train.kind=phinset", "Did you mean 'phisnet'"),
        ("train.fit.scael=1", "Did you mean 'scale'"),
        ("train.data=mine.db", "train.data is the recipe's own"),
    ],
)
def test_wrong_recipe_is_refused_before_any_work(word: str, message: str, recipe: Path, tmp_path: Path) -> None:
    code, output = run(recipe, word)
    assert code == 2
    assert message in output
    assert list(tmp_path.iterdir()) == [recipe]


def test_folder_of_something_else_is_left_alone(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "water").mkdir()
    (tmp_path / "water" / "thesis.tex").touch()
    code, output = run(recipe)
    assert (code, "holds something else" in output) == (2, True)
    assert run(recipe, "--redo", "trian")[1].count("Did you mean 'train'?") == 1
    assert [path.name for path in (tmp_path / "water").iterdir()] == ["thesis.tex"]


def test_recipe_of_the_examples_is_understood() -> None:
    recipe = Recipe.read(ROOT / "examples" / "recipe" / "methanol.yaml")
    assert recipe.label.level == "pbe/def2-svp"


@pytest.mark.slow
def test_dry_run_times_the_steps_of_a_network(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
folder: {tmp_path / "water"}
sample: {{molecule: H2O, number: 10, level: hf/sto-3g}}
label: {{level: hf/sto-3g}}
train:
  model: {{basis: sto-3g, features: 4, n_modules: 1, n_radial: 4, hidden: 8}}
  steps: 50
  batch_size: 2
evaluate: {{level: [functional], cycles: false}}
""",
        encoding="utf-8",
    )
    code, output = run(path, "--dry-run")
    assert code == 0, output
    step = re.search(r"phisnet: 50 steps of 2 molecules, ([\d.]+) (m?)s each; \d+ (?:s|min) before and after", output)
    assert step is not None, output
    assert 0 < float(step[1]) * (1e-3 if step[2] else 1) < 60
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_recipe_of_the_examples_runs(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    words = (f"folder={tmp_path / 'methanol'}", "sample.number=5", "train.steps=20", "train.steps_per_epoch=10")
    code, output = run(ROOT / "examples" / "recipe" / "methanol.yaml", *words)
    assert code == 0, output
    errors = json.loads((tmp_path / "methanol" / "errors.json").read_text(encoding="utf-8"))
    assert errors["functional_forces_mae_meV_per_A"] < 100
