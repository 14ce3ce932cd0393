"""``mlwave``: every other file of this folder is a verb and defines one function of the file's name.

A verb with verbs of its own defines a ``Typer`` of that name instead; names that begin with ``_`` are no verbs.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import ase_mlwave
from ase_mlwave import cli

__all__ = ["app"]

#: The order of a project in ``mlwave --help``; verbs that are not named here follow.
_ORDER = ("demo", "sample", "label", "train", "evaluate", "predict", "amons", "models")


class _Tidy(TyperGroup):
    """Turn what the user can mend into one line, and leave the traceback to those who ask for it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("interrupted", "yellow")
            raise typer.Exit(130) from None
        except BrokenPipeError:  # `mlwave models | head` is no error; typer ends the program quietly
            raise
        except Exception as error:
            if ctx.params["traceback"] or not _is_expected(error):
                raise
            _say(f"error: {_one_line(error)}", "bold red")
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Tidy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ase-mlwave {ase_mlwave.__version__}")
        raise typer.Exit


@app.callback()
def mlwave(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """ASE calculators whose energies and forces come from a learned electronic structure."""


def _is_expected(error: Exception) -> bool:
    """Tell an error in the input or the calculation from one in the program."""
    from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError

    from ase_mlwave.errors import UnknownOptionError

    expected = (CalculatorError, PropertyNotImplementedError, UnknownOptionError, ValueError, KeyError, OSError)
    return isinstance(error, expected)


def _one_line(error: Exception) -> str:
    """Write an error's message on one line; a validation error as its fields and what is wrong with each."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        parts = (f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        return "; ".join(parts)
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def _say(message: str, style: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(message, style=style), soft_wrap=True)


def _verbs() -> list[str]:
    found = {module.name for module in iter_modules(cli.__path__) if not module.name.startswith("_")} - {"main"}
    return [verb for verb in _ORDER if verb in found] + sorted(found - set(_ORDER))


for _verb in _verbs():
    _found = getattr(import_module(f"{cli.__name__}.{_verb}"), _verb)
    if isinstance(_found, typer.Typer):
        app.add_typer(_found, name=_verb)
    else:
        app.command()(_found)
