"""The ``mlwave`` commands that documents show, and what must hold of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from typer.main import get_command

from ase_mlwave.cli.main import app
from ase_mlwave.models.folder import list_models
from ase_mlwave.models.kinds import find_kind
from ase_mlwave.models.training.yaml_settings import read_yaml

ROOT = Path(__file__).parents[1]


def mlwave_lines(text: str) -> list[list[str]]:
    """Find the words after ``mlwave`` of every command in the code blocks of a document."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mlwave ")]


#: A model of each kind, in place of one that a command of the documents makes.
_ANY_MODEL = {"phisnet": "phisnet-water", "qdf": "qdf-chno"}


def check_command(verb: str, *arguments: str) -> None:
    """Check that the verb and its options exist, and that settings of ``mlwave train`` are ones of their kind."""
    app_command: Any = get_command(app)
    command = app_command.commands[verb]
    if hasattr(command, "commands"):  # `mlwave amons QUERY` is `mlwave amons list QUERY`
        command = command.commands[arguments[0] if arguments[0] in command.commands else "list"]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    options = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
    assert options <= known, (verb, options - known)
    if verb == "train":
        path, *overrides = (argument for argument in arguments if not argument.startswith("-"))
        values = read_yaml(ROOT / path, overrides)
        start = str(values.get("start_from", ""))
        if start and start not in list_models():  # what a command before left there
            overrides.append(f"start_from={_ANY_MODEL[values.get('kind', 'phisnet')]}")
        kind = find_kind(values.get("kind", "phisnet"), path)
        assert kind.load("training").TrainingSettings.read(ROOT / path, overrides).kind == kind.name
