from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import ase_mlwave
from ase_mlwave.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: Verbs that the test runs as they stand; of the others it checks that they and their options exist.
QUICK = {"models", "predict"}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def _mlwave_lines() -> list[list[str]]:
    lines = [line for block in _blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mlwave ")]


def _options(verb: str) -> set[str]:
    command: Any = get_command(app)
    return {name for parameter in command.commands[verb].params for name in parameter.opts}


def test_code_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the Python blocks in order as one script, and then the quick commands on the files that they wrote."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    assert len(_blocks("python")) >= 3
    for block in _blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["mf"].converged
    for verb, *arguments in _mlwave_lines():
        if verb in QUICK:
            result = CliRunner().invoke(app, [verb, *arguments])
            assert result.exit_code == 0, result.output
    assert Path("predicted.extxyz").is_file()


def test_commands_of_the_readme_exist() -> None:
    lines = _mlwave_lines()
    assert len(lines) >= 2
    for verb, *arguments in lines:
        given = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
        assert given <= _options(verb) | {"--help"}


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {line.split()[1] for block in _blocks("bash") for line in block.splitlines() if line.startswith("make ")}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_extras_of_the_readme_are_those_of_the_package() -> None:
    from importlib.metadata import metadata

    named = set(re.findall(r"^\| `(\w+)` \|", README.partition("## Install")[2], flags=re.MULTILINE))
    assert named == set(metadata("ase-mlwave").get_all("Provides-Extra") or [])


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in ROOT.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (ROOT / target).exists(), (document.name, target)


def test_citation_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ase_mlwave.__version__
    assert len(citation["references"]) >= 4
