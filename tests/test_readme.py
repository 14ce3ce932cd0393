from __future__ import annotations

import ast
import inspect
import json
import re
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from pyscf import lib  # noqa: F401 (it writes for ever to what was the standard output at its import)
from typer.testing import CliRunner

import ase_mlwave
from ase_mlwave.cli.main import app
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.folder import list_models
from tests.commands import ROOT, check_command, mlwave_lines

README = (ROOT / "README.md").read_text(encoding="utf-8")

#: Verbs that the test runs as they stand.
QUICK = {"models", "predict"}

#: Settings that make a training run of a quantum deep field one of a second.
TINY = (
    *("steps=2", "steps_per_epoch=2", "batch_size=2", "grid_level=0", "readout.directions=2", "readout.orientations=0"),
    *("model.grid_level=0", "model.dimension=4", "model.readout_width=8", "--no-progress"),
)


def _blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def _section(title: str) -> str:
    assert f"\n## {title}\n" in README
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _execute(block: str, namespace: dict[str, Any]) -> None:
    exec(compile(block, "README.md", "exec"), namespace)


def _run(*words: str) -> None:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output


def test_code_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the Python blocks in order as one script, and then the quick commands on the files that they wrote."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    blocks = _blocks("python", _section("What a user types"))
    assert len(blocks) == 3
    for block in blocks:
        _execute(block, namespace)
    assert namespace["mf"].converged
    for verb, *arguments in mlwave_lines(README):
        if verb in QUICK:
            _run(verb, *arguments)
    assert Path("predicted.extxyz").is_file()


def test_quantum_deep_field_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    (block,) = _blocks("python", _section("A density functional that learned chemistry"))
    _execute(block, namespace)
    assert namespace["atoms"].get_forces().shape == (9, 3)
    assert Path("density.cube").is_file()


def test_amons_of_the_readme_are_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tblite")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    (block,) = _blocks("python", _section("Teach yourself the query, then run it"))
    _execute(block, namespace)
    assert namespace["calc"].extras["amons"][-1] == "CCO"
    assert Path("amons.db").is_file()


def test_models_of_the_readme_ship() -> None:
    named = set(re.findall(r"\b(?:amons|phisnet|qdf)(?:-[a-z]+)+\b", re.sub(r"\S*/\S*", "", README)))
    assert {"amons-chno", "phisnet-water", "phisnet-water-ccsdt", "qdf-chno", "qdf-ethanol"} <= named
    assert named <= set(list_models())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("forces", [True, False], ids=["forces", "energies_alone"])
def test_training_on_a_file_of_the_readme_runs(
    forces: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Follow it from ``mine.extxyz`` to an evaluated committee and a calculator, with tiny networks."""
    monkeypatch.chdir(tmp_path)
    write("mine.extxyz", [_labelled(name, seed, forces) for seed in range(10) for name in ("H2O", "CH3OH")])
    section = _section("Train your own")
    divide, use = _blocks("python", section)
    _execute(divide, {})
    assert read_dataset("mine.db").splits.keys() == {"train", "valid", "test"}
    lines = [line for line in mlwave_lines(section) if any("mine.db" in word for word in line)]
    assert [line[0] for line in lines] == ["train", "evaluate", "train", "evaluate", "train", "train", "evaluate"]
    for verb, *arguments in lines:
        if verb == "train":
            smaller = ("--no-progress",) if "amons" in arguments[0] else TINY
            _run(verb, str(ROOT / arguments[0]), *arguments[1:], *smaller)
        else:
            _run(verb, *arguments)
    if forces:  # two energies are too few to draw
        assert Path("runs/mine/model/calibration.png").is_file()
    namespace: dict[str, Any] = {"atoms": molecule("CH3OH"), "QDFCalculator": ase_mlwave.QDFCalculator}
    _execute(use, namespace)
    assert namespace["atoms"].get_forces().shape == (6, 3)


def _labelled(name: str, seed: int, forces: bool) -> Atoms:
    """Displace a molecule and label it with the effective medium theory."""
    atoms: Atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy()} | ({"forces": atoms.get_forces()} if forces else {})
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.mark.parametrize(
    "document", ["README.md", "docs/own_model.md", "docs/recipe.md", "docs/published_qdf.md", "docs/databases.md"]
)
def test_commands_of_the_documents_are_understood(document: str) -> None:
    lines = mlwave_lines((ROOT / document).read_text(encoding="utf-8"))
    assert len(lines) >= 2
    for line in lines:
        check_command(*line)


def test_code_about_databases_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = _blocks("python", (ROOT / "docs/databases.md").read_text(encoding="utf-8"))
    assert len(blocks) == 2
    for block in blocks:
        _execute(block, {})
    assert len(read_dataset("copy.db")) == 1


def test_code_about_warm_starts_runs() -> None:
    (block,) = _blocks("python", (ROOT / "docs/warm_start.md").read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    _execute(block, found)
    assert found["mf"].converged
    assert found["mf"].cycles <= 5


def test_code_about_properties_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in _blocks("python", (ROOT / "docs/properties.md").read_text(encoding="utf-8")):
        _execute(block, {})
    assert (tmp_path / "methanol.png").is_file()


WHICH = (ROOT / "docs/which_model.md").read_text(encoding="utf-8")


def test_code_about_which_model_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = _blocks("python", WHICH)
    _execute(block, {})
    assert "too high by" in capsys.readouterr().out


def test_lines_about_which_model_are_understood() -> None:
    """Compare every line to type with the names, the keywords, the models and the settings that there are."""
    lines = re.findall(r"^\|[^|`]+\| `([^`]+)` \|", WHICH, flags=re.MULTILINE)
    assert len(lines) >= 15
    for line in lines:
        call: Any = ast.parse(line, mode="eval").body
        name = ast.unparse(call.func)
        if name == "train":
            path, overrides = map(ast.literal_eval, call.args)
            check_command("train", path, *overrides)
        elif name.partition(".")[0].endswith("Calculator"):
            known = inspect.signature(attrgetter(name)(ase_mlwave)).parameters
            assert {word.arg for word in call.keywords} <= set(known), line
            if name != "AmonsCalculator.for_query":
                assert ast.literal_eval(call.args[0]) in list_models(), line


@pytest.mark.parametrize("document", ["which_model.md", "index.md"])
def test_figures_about_which_model_are_those_of_the_cards(document: str) -> None:
    figures_of = r'"([\w-]+)"(?:, energy="(\w+)")?[^`]*\)` \| (\S+) meV, (\S+) meV/Å \((\S+), (\S+)\)'
    rows = re.findall(figures_of, (ROOT / "docs" / document).read_text(encoding="utf-8"))
    assert len(rows) >= 4
    for model, energy, *figures in rows:
        folder = ROOT / "models" / model
        defaults = json.loads((folder / "config.json").read_text(encoding="utf-8"))["defaults"]
        level = energy or defaults.get("energy")  # models of amons have one energy
        card = dict(re.findall(r"^\| (\w+) \| (\S+) \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE))
        kinds = ("energy_mae_meV", "forces_mae_meV_per_A", "energy_median_meV", "forces_median_meV_per_A")
        measured = [float(card[f"{level}_{kind}" if level else kind]) for kind in kinds]
        assert [float(figure) for figure in figures] == pytest.approx(measured, rel=0.04), (model, level)


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {line.split()[1] for block in _blocks("bash") for line in block.splitlines() if line.startswith("make ")}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_extras_of_the_readme_are_those_of_the_package() -> None:
    from importlib.metadata import metadata

    named = set(re.findall(r"^\| `([\w-]+)` \|", README.partition("## Install")[2], flags=re.MULTILINE))
    assert named == set(metadata("ase-mlwave").get_all("Provides-Extra") or [])


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*/*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), (document.name, target)


def test_citation_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ase_mlwave.__version__
    assert len(citation["references"]) >= 4
