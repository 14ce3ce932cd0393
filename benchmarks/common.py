"""What benchmarks share: options, refusals, timing, result files, tables and pictures.

Every benchmark runs from the root of the repository, ``python -m benchmarks.NAME``; ``--help`` says what it measures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, InputError
from ase.optimize import BFGS
from matplotlib.figure import Figure
from rich.progress import Progress
from rich.table import Table
from threadpoolctl import threadpool_limits

from ase_mlwave.console import Console, progress_bar
from ase_mlwave.units import HARTREE

#: One Hartree in kcal/mol.
KCAL_PER_MOL: float = HARTREE * units.mol / units.kcal


def positive(number: type) -> Callable[[str], Any]:
    """Return the type of an option that must be a positive ``int`` or ``float``."""

    def parse(text: str) -> Any:
        value = number(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"it was {text}, and must be positive")
        return value

    parse.__name__ = number.__name__
    return parse


def existing(text: str) -> Path:
    """Return the path of an option whose file must be there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


#: Options that several benchmarks have.
_SHARED: dict[str, dict[str, Any]] = {
    "output": {"type": Path, "help": "folder for results"},
    "seed": {"type": int, "default": 0, "help": "of all that is random"},
    "repeats": {"type": positive(int), "default": 3, "help": "of which the median counts"},
    "workers": {"type": positive(int), "default": 1, "help": "processes that label"},
    "max_heavy": {"type": positive(int), "help": "heavy atoms of the largest amons"},
    "device": {"help": "where models run, such as cuda"},
    "dtype": {"choices": ("float32", "float64"), "default": "float64"},
}


def command_line(module: str, text: str | None, **shared: Any) -> argparse.ArgumentParser:
    """Make a parser for ``python -m benchmarks.MODULE`` that says ``text``, with the options of `add_shared`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_shared(parser, **shared)
    return parser


def add_shared(parser: argparse.ArgumentParser, **shared: Any) -> None:
    """Add options that benchmarks share, by name and default: ``...`` for the usual one, or a required ``output``."""
    for name, default in shared.items():
        changes = {"required": True} if name == "output" and default is ... else {}
        changes |= {} if default is ... else {"default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", **{**_SHARED[name], **changes})


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, and end with one line where input is refused."""
    import torch

    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    except (InputError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


def cpu_seconds(function: Callable[[], Any]) -> tuple[Any, float]:
    """Call a function; return what it returns, and the CPU-seconds of this process that it took."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def medians(
    functions: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Time functions in turns, after one call each that does not count; seconds, by default of the CPU."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name].append(_seconds(function, clock))
    return {name: float(np.median(values)) for name, values in seconds.items()}


def clock_of(device: str) -> Callable[[], float]:
    """Return what to time with: the CPU's seconds, or on a GPU those of the clock on the wall."""
    return time.perf_counter if device.startswith("cuda") else time.process_time


def median(function: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """Time one function as `medians` does."""
    return medians({"": function}, repeats, clock)[""]


def _seconds(function: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Time a function; again until the clock moves, which ticks where a limit of CPU time is set (``ulimit -t``)."""
    begin, calls = clock(), 0
    while not calls or (elapsed := clock() - begin) <= 0:
        function()
        calls += 1
    return elapsed / calls


def bar() -> Progress:
    """Make a progress bar that is silent where nobody watches."""
    return progress_bar(Console(stderr=True))


def relaxed(atoms: Atoms, calculator: Calculator, fmax: float, steps: int) -> Atoms:
    """Relax a copy with BFGS; it keeps the calculator."""
    found = atoms.copy()
    found.calc = calculator
    BFGS(found, logfile=None).run(fmax=fmax, steps=steps)
    return found


def write_json(path: Path, content: Any) -> None:
    """Write a result, whole or not at all, into a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def read_json(path: Path, default: Any = None) -> Any:
    """Read a result of before, from which a benchmark goes on; ``default`` where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def rich_table(rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Make a table for the terminal; the first row names the columns, whose first has words, the others numbers."""
    table = Table(title=title)
    for number, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if number else "left")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a table as Markdown; the first row names the columns."""
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figures_table(columns: Mapping[str, Mapping[str, Any]], title: str = "") -> Table:
    """Make a table with a row for every figure and a column for everything that was measured."""
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    values = {key: [column.get(key, "") for column in columns.values()] for key in keys}
    rows = [[key, *(f"{v:.4g}" if isinstance(v, float) else str(v) for v in some)] for key, some in values.items()]
    return rich_table([["", *columns], *rows], title)


@contextmanager
def picture(path: Path, size: tuple[float, float], panels: int = 1, dpi: int = 130) -> Iterator[Any]:
    """Yield the panels of a picture side by side (one: itself), and write it as PNG."""
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        yield axes[0] if panels == 1 else axes
        figure.savefig(path, dpi=dpi)


def plain_numbers(axis: Any) -> None:
    """Write the numbers of a logarithmic axis as they are, not as powers of ten."""
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
