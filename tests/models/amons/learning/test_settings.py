"""The options of a study are written once: signature, documentation and command line are those of the settings."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import typer
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.learning.settings import Labelling, StudySettings
from ase_mlwave.options import default_of, help_of

FIELDS = [(kind, name) for kind in (StudySettings, Labelling) for name in kind.model_fields]
#: Options of ``mlwave amons fit`` that are settings under another name.
RENAMED = {"output": "folder"}


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=[name for _, name in FIELDS])
def test_call_has_signature_and_documentation_of_the_settings(kind: Any, name: str) -> None:
    parameter = inspect.signature(AmonsCalculator.for_query).parameters[name]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default == default_of(kind, name)
    text = " ".join((AmonsCalculator.for_query.__doc__ or "").split())
    assert len(help_of(kind, name)) > 20
    assert f"{name} : " in text
    assert help_of(kind, name) in text.replace("`", "")


def test_command_line_has_defaults_and_help_of_the_settings() -> None:
    verbs: Any = typer.main.get_command(app)
    options = {option.name: option for option in verbs.commands["amons"].commands["fit"].params}
    shared = {
        name: RENAMED.get(name, name) for name in options if RENAMED.get(name, name) in StudySettings.model_fields
    }
    assert len(shared) == 8
    for name, field in shared.items():
        assert options[name].help == help_of(StudySettings, field)
        assert options[name].default == default_of(StudySettings, field)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_hevy": 3}, TypeError, r"for_query has no option 'max_hevy'. Did you mean 'max_heavy'\?"),
        ({"uncertinty": "none"}, TypeError, "Did you mean 'uncertainty'"),
        ({"displaced": -1}, InputError, r"displaced: .*copies.*given: -1"),
        ({"max_heavy": "all"}, InputError, r"max_heavy: .*integer.*given: 'all'"),
        ({"settings": "best"}, InputError, r"settings: .*FitSettings"),
        ({"device": "tpu"}, InputError, "device"),
        ({"reference": "gfn3-xtb"}, InputError, "no level of theory"),
    ],
)
def test_options_are_refused_before_any_work(
    options: dict[str, Any], error: type, message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        AmonsCalculator.for_query("CO", database=tmp_path / "amons.db", **options)
    assert list(tmp_path.iterdir()) == []


def test_fit_goes_with_the_copies() -> None:
    assert StudySettings().fit == FitSettings.for_forces()
    assert StudySettings(displaced=0).fit == FitSettings.for_energies()
    assert StudySettings(settings=FitSettings(scale=2.0)).fit == FitSettings(scale=2.0)
