"""Settings are values: reading them reads nothing else and runs nothing, and costs what the file costs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ase.calculators.calculator import InputError
from pydantic import BaseModel, ConfigDict

from ase_mlwave.models.training.yaml_settings import parse_settings, read_yaml


class Small(BaseModel):
    model_config = ConfigDict(extra="forbid")

    level: str = "pbe/def2-svp"
    rate: float = 1.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_values_and_words_are_joined(file: Path) -> None:
    file.write_text("model: {elements: [H, O], cutoff: 1e1}\nsteps: 5\nname: a$b\n")
    assert read_yaml(file, ["steps=7", "model.features=3", "rate=1e-3"]) == {
        "model": {"elements": ["H", "O"], "cutoff": 10.0, "features": 3},
        "steps": 7,
        "name": "a$b",
        "rate": 1e-3,
    }
    assert read_yaml(file, "steps=7") == read_yaml(file, ["steps=7"])  # no list of letters


REFERENCES = [
    "${oc.env:HOME}",
    "${oc.env:HOME,none}",
    "a ${oc.env:HOME} b",
    "${oc.create:[1]}",
    "${oc.decode:1}",
    "${oc.deprecated:steps}",
    "${steps}",
    "\\${steps}",
    "${${steps}}",
    '"\\x24{oc.env:HOME}"',
    "'${oc.env:HOME}'",
    "{a: [x, '${oc.env:HOME}']}",
    "{'${oc.env:HOME}': 1}",
]


@pytest.mark.parametrize("value", REFERENCES)
def test_references_are_refused(file: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/the/secret/place")
    file.write_text(f"steps: 5\nlevel: {value}\n")
    with pytest.raises(InputError, match="refers to something else") as in_file:
        read_yaml(file)
    file.write_text("steps: 5\n")
    with pytest.raises(InputError, match="refers to something else") as in_word:
        read_yaml(file, [f"level={value}"])
    assert "secret" not in f"{in_file.value}{in_word.value}"


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:os.system ['touch {marker}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object/apply:pathlib.Path ['{marker}']",
        "!local x",
        "!!binary aGk=",
    ],
)
def test_tags_are_refused_and_run_nothing(file: Path, value: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    value = value.format(marker=marker)
    file.write_text(f"level: {value}\n")
    with pytest.raises(InputError, match="has a tag"):
        read_yaml(file)
    file.write_text("{}")
    with pytest.raises(InputError, match="has a tag"):
        read_yaml(file, [f"level={value}"])
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "anchor"),
        ("a: &a\n  <<: *a\n", "anchor"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than 20"),
        ("a:\n" + "".join(f"{' ' * n}- \n" for n in range(1, 60)), "nested more than 20"),
        ("a: " + "x" * 10**6, "more than the 1000000"),
        ("a: " + "x" * 5000, "characters"),
        ('a: "\\e[31mred"', "printable"),
        ("a: \x1b[31mred", "cannot be read"),
        ("a: [", "cannot be read"),
        ("[1, 2]", "must hold a mapping"),
    ],
)
def test_files_that_are_more_than_settings_are_refused_at_once(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    start = time.thread_time()
    with pytest.raises(InputError, match=message) as caught:
        read_yaml(file)
    assert time.thread_time() - start < 1
    assert len(str(caught.value)) < 1000
    assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["none.yaml", "x" * 5000, "a\0b", "", "."])
def test_what_is_no_file_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no settings file") as caught:
        read_yaml(name)
    assert len(str(caught.value)) < 500


def test_names_of_settings_are_cleaned_in_messages() -> None:
    with pytest.raises(InputError) as caught:
        parse_settings(Small, {"\x1b[31mlevel": 1, "rate": "\x1b[2J"})
    assert str(caught.value).isprintable()
    assert "Known are: 'level', 'rate'" in str(caught.value)
