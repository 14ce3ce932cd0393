"""``mlwave``: every other file of this folder is a verb and defines one function of the file's name.

A verb with verbs of its own defines a ``Typer`` of that name instead; names that begin with ``_`` are no verbs.
"""

from __future__ import annotations

import inspect
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from functools import wraps
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import ase_mlwave
from ase_mlwave import cli

__all__ = ["app", "mlwave"]

#: The order of a project in ``mlwave --help``; verbs that are not named here follow.
_ORDER = ("demo", "run", "sample", "label", "merge", "train", "join", "evaluate", "predict", "amons", "models")


#: Characters of a message that are shown.
_LONGEST_MESSAGE = 2000


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


_Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show results, warnings and errors: no notes and no progress.")
]


def _with_quiet(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the option ``-q``, and its help lines that a terminal of any width wraps itself."""

    @wraps(verb)
    def run(*args: Any, quiet: bool = False, **options: Any) -> None:
        if quiet and "progress" in options:
            options["progress"] = False
        with _without_notes() if quiet else nullcontext():
            verb(*args, **options)

    signature = inspect.signature(verb, eval_str=True)
    option = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Quiet)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__doc__ = "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(verb.__doc__ or "").split("\n\n"))
    run.__annotations__ = {**{name: p.annotation for name, p in signature.parameters.items()}, "quiet": _Quiet}
    return run


@contextmanager
def _without_notes() -> Iterator[None]:
    """Swallow what is written to the standard error stream, except warnings."""
    stream = sys.stderr

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        stream.write(warnings.formatwarning(message, category, filename, lineno, line))

    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.showwarning = show
        yield


app = typer.Typer(
    cls=_Tidy,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
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

    from ase_mlwave.text import clean

    if isinstance(error, ValidationError):
        parts = (f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        return clean("; ".join(parts))[:_LONGEST_MESSAGE]
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return clean(" ".join(text.split()))[:_LONGEST_MESSAGE] or type(error).__name__


def _say(message: str, style: str) -> None:
    from rich.text import Text

    from ase_mlwave.console import Console

    Console(stderr=True).print(Text(message, style=style), soft_wrap=True)


def _verbs() -> list[str]:
    names = {module.name for module in iter_modules(cli.__path__) if not module.name.startswith("_")} - {"main"}
    return [verb for verb in _ORDER if verb in names] + sorted(names - set(_ORDER))


for _verb in _verbs():
    _found = getattr(import_module(f"{cli.__name__}.{_verb}"), _verb)
    if isinstance(_found, typer.Typer):
        for _command in _found.registered_commands:
            if _command.callback is not None:
                _command.callback = _with_quiet(_command.callback)
        app.add_typer(_found, name=_verb)
    else:
        app.command()(_with_quiet(_found))
