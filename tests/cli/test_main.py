from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import typer
from ase.calculators.calculator import InputError, SCFError
from pydantic import BaseModel
from typer.testing import CliRunner

from ase_mlwave import __version__
from ase_mlwave.cli.main import _Tidy, _with_quiet, app, mlwave


class _Settings(BaseModel):
    cutoff: float


def _run(verb: Callable[[], Any], *arguments: str) -> Any:
    return CliRunner().invoke(_small(verb), [*arguments, "verb"])


def _small(verb: Callable[..., Any]) -> typer.Typer:
    """Put a verb under the same roof as the real ones."""
    small = typer.Typer(cls=_Tidy)
    small.callback()(mlwave)
    small.command("verb")(verb)
    return small


def _fail(error: BaseException) -> Callable[[], None]:
    def verb() -> None:
        raise error

    return verb


def _invalid() -> None:
    _Settings.model_validate({"cutoff": "far"})


def test_version_is_shown() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output.strip()) == (0, f"ase-mlwave {__version__}")


def test_help_lists_the_verbs() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    assert [verb for verb in ("predict", "models") if verb not in output] == []


@pytest.mark.parametrize(
    ("verb", "default"),
    [("predict", "beside the input"), ("predict", "what fits"), ("label", "1; all of Dask's"), ("evaluate", "all")],
)
def test_help_shows_defaults_that_are_chosen_later(verb: str, default: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, [verb, "--help"])
    assert f"[default: ({default})]" in result.output


def test_help_fills_the_lines_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = CliRunner().invoke(app, ["predict", "--help"]).output.split("Without --properties")[1].split("\n\n")[0]
    lines = text.split("\n \n")[0].splitlines()
    assert all(len(line.strip()) > 55 for line in lines[1:3])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("no such\n  model"), "error: no such model"),
        (SCFError("not converged"), "error: not converged"),
        (KeyError("no split 'test'"), "error: no split 'test'"),
        (FileNotFoundError(2, "No such file", "x.xyz"), "error: [Errno 2] No such file: 'x.xyz'"),
        (ValueError(), "error: ValueError"),
    ],
)
def test_expected_error_is_one_line(error: Exception, message: str) -> None:
    result = _run(_fail(error))
    assert result.exit_code == 2
    assert result.stderr == message + "\n"


def test_validation_error_names_the_field() -> None:
    result = _run(_invalid)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: cutoff: Input should be a valid number")
    assert result.stderr.count("\n") == 1


def test_error_in_the_program_keeps_its_traceback() -> None:
    assert isinstance(_run(_fail(AssertionError("bug"))).exception, AssertionError)


def test_traceback_is_there_for_those_who_ask() -> None:
    assert isinstance(_run(_fail(InputError("no")), "--traceback").exception, InputError)


def _talk(progress: bool = True) -> None:
    print("result")
    print(f"note, progress {progress}", file=sys.stderr)


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_leaves_results(flag: str) -> None:
    loud, quiet = (CliRunner().invoke(_small(_with_quiet(_talk)), ["verb", *words]) for words in ([], [flag]))
    assert "note, progress True" in loud.stderr
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "result\n", "")


@pytest.mark.filterwarnings("default:look out")
def test_quiet_leaves_warnings() -> None:
    def verb() -> None:
        warnings.warn("look out", UserWarning, stacklevel=1)

    assert "UserWarning: look out" in CliRunner().invoke(_small(_with_quiet(verb)), ["verb", "-q"]).stderr


def test_quiet_leaves_errors() -> None:
    result = CliRunner().invoke(_small(_with_quiet(_fail(InputError("no such model")))), ["verb", "-q"])
    assert (result.exit_code, result.stderr) == (2, "error: no such model\n")


@pytest.mark.parametrize(
    "words", [["predict"], ["label"], ["train"], ["evaluate"], ["models"], ["amons", "list"], ["amons", "fit"]]
)
def test_every_verb_has_quiet(words: list[str]) -> None:
    assert "--quiet" in CliRunner().invoke(app, [*words, "--help"]).output


@pytest.mark.parametrize(("typed", "proposed"), [("mod", "models"), ("predict --prop", "--properties")])
def test_shell_completes_verbs_and_options(typed: str, proposed: str) -> None:
    words = f"mlwave {typed}"
    environment = {
        "_MLWAVE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    assert CliRunner().invoke(app, [], prog_name="mlwave", env=environment).output.split() == [proposed]


def test_interrupt_is_tidy() -> None:
    result = _run(_fail(KeyboardInterrupt()))
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
