"""What a recipe's steps will do and about how long they take: measured on one molecule, and nothing is left behind."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ase_mlwave.cli._recipe import STEPS, Recipe, State
from ase_mlwave.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase_mlwave.data.record import Record

__all__ = ["forecast"]

#: What takes less, s, is measured once more, when everything is loaded.
_BRIEF = 30.0
#: Training steps that are timed; molecules of a fit without steps.
_TIMED_STEPS, _FITTED = 4, 12
#: Energies of a relaxation, and of a molecule's normal modes for each atom.
_RELAXATION, _MODES = 30, 6
#: Time of a validation of a network, in steps on as many molecules.
_VALIDATION = 1 / 3


def forecast(state: State, console: Console) -> None:
    """Print what each step will do, and about how long it takes on this machine.

    Parameters
    ----------
    state : State
        The recipe, and what is done of it.
    console : Console
        Where to print.
    """
    from rich.table import Table

    from ase_mlwave.models.training.bar import duration

    table = Table(title=f"What the recipe does in {state.recipe.folder}", title_justify="left", box=None)
    for column in ("step", "what", "about"):
        table.add_column(column, no_wrap=column != "what")
    total = 0.0
    with TemporaryDirectory() as folder:
        one = _OneMolecule(state, Path(folder))
        for step in STEPS:
            if state.is_done(step):
                table.add_row(step, f"done: {state.recipe.path(step)}", "")
                continue
            Console(stderr=True).print(f"measuring the step {step}")
            what, seconds = getattr(one, step)()
            table.add_row(step, what, duration(seconds))
            total += seconds
        name = f"{one.start.formula}, {len(one.start)} atoms"
    console.print(table)
    console.print(
        f"in all about {duration(total)}, if the machine is as busy as now: measured on one {name}, and good to a "
        "factor of two. Nothing was written.",
        soft_wrap=True,
        highlight=False,
    )


class _OneMolecule:
    """Measure on the largest molecule what a step takes.

    Parameters
    ----------
    state : State
        Of the recipe.
    folder : Path
        For files that go away.
    """

    def __init__(self, state: State, folder: Path) -> None:
        from ase_mlwave.reference.molecules import starting_geometries

        self.state, self.recipe, self.folder = state, state.recipe, folder
        self.starts = starting_geometries(self.recipe.sample.molecule, self.recipe.sample.seed)
        self.start = max(self.starts, key=len)
        self.level = self.recipe.label.theory()
        self.n_geometries = len(self.starts) * len(self.recipe.sample.temperature) * self.recipe.sample.number

    def sample(self) -> tuple[str, float]:
        """Time one energy and its forces."""
        from ase_mlwave.data.convert import atoms_from_record
        from ase_mlwave.reference.levels import LevelOfTheory
        from ase_mlwave.reference.sampling import level_calculator

        settings, atoms = self.recipe.sample, atoms_from_record(self.start)
        theory = LevelOfTheory.parse(settings.level)
        theory.load()
        atoms.calc = level_calculator(theory, self.start)

        def forces() -> None:
            atoms.positions[0] += 1e-3
            atoms.get_forces()

        seconds, n_dynamics = _timed(forces), len(self.starts) * len(settings.temperature)
        if settings.method == "modes":
            n = len(self.starts) * (_MODES * len(self.start) + _RELAXATION)
        else:
            n = round(n_dynamics * (settings.equilibration + settings.number * settings.interval) / settings.timestep)
        what = f"{self.n_geometries} geometries: {n} forces at {theory.name}, {_brief(seconds)} each"
        return what, n * seconds

    @cached_property
    def _label(self) -> tuple[Record, float]:
        """One label and its time, s; of a recipe that has labels the largest of these, which takes none."""
        from ase_mlwave.data.readers import read_dataset

        if self.state.is_done("label"):
            return max(read_dataset(self.recipe.path("label")), key=len), 0.0
        self.level.load()
        found: list[Record] = []
        seconds = _timed(lambda: found.append(self.level.label(self.start)))
        return found[-1], seconds

    def label(self) -> tuple[str, float]:
        """Time one label."""
        from ase_mlwave.data.database import DatasetFile

        path, settings = self.recipe.path("label"), self.recipe.label
        done = DatasetFile(path).counts()["labelled"] if path.is_file() else 0
        seconds, workers = self._label[1], settings.workers or 1
        what = f"{self.n_geometries} labels at {self.level.name}, {done} of them there; {_brief(seconds)} each"
        what += f", {workers} at a time" if workers > 1 else ""
        return what, (self.n_geometries - done) * seconds / workers

    @cached_property
    def _split(self) -> dict[str, int]:
        from ase_mlwave.data.splits import parse_fractions

        shares = parse_fractions(self.recipe.label.split)
        return {name: max(1, round(share * self.n_geometries)) for name, share in shares.items()}

    @property
    def _model(self) -> Path:
        """A model that was trained for a step or two."""
        return self.recipe.model if self.state.is_done("train") else self.folder / "short" / "model"

    def train(self) -> tuple[str, float]:
        """Time a few steps, and what comes before and after them, on copies of one labelled molecule."""
        from ase_mlwave.models.training.bar import duration
        from ase_mlwave.models.training.checkpoint import checkpoint_path, read_checkpoint

        settings = Recipe.training(self.recipe.training_file(self.folder / "train.yaml"))
        n_molecules = sum(self._split.get(str(name), 0) for name in (settings.train_split, settings.valid_split))
        n_copies = getattr(settings, "batch_size", _FITTED - 1) + 1
        data = self._copies(settings, n_copies)
        if not hasattr(settings, "steps"):
            seconds = self._trained(data, "short")[0] * n_molecules / n_copies
            return f"{settings.kind}: a fit to {self._split.get(settings.train_split)} molecules", seconds
        self._trained(data, "first", 1)  # loads and compiles
        short, cpu = self._trained(data, "short", 1)
        # Steps that are brief beside what comes before and after them take more of them to be seen.
        for n_timed in (_TIMED_STEPS, 10 * _TIMED_STEPS):
            longer, cpu_longer = self._trained(data, f"long{n_timed}", 1 + n_timed)
            if cpu_longer > 1.2 * cpu:
                break
        # By the CPU's clock, which others on the machine do not disturb; then as long as that took on the wall.
        step = max(0.0, cpu_longer - cpu) / n_timed * longer / cpu_longer
        checkpoint = read_checkpoint(checkpoint_path(self.recipe.path("train"))) or {"step": 0}
        n_steps = settings.steps - checkpoint["step"]
        per_validation = 2 * _VALIDATION * step * self._split.get(settings.valid_split, 0) / settings.batch_size
        around = max(0.0, short - step) * n_molecules / n_copies
        what = (
            f"{settings.kind}: {n_steps} steps of {settings.batch_size} molecules, {_brief(step)} each; "
            f"{duration(around)} before and after them"
        )
        return what, n_steps * (step + per_validation / settings.steps_per_epoch) + around

    def _copies(self, settings: Any, number: int) -> Path:
        """Write copies of the labelled molecule, each moved a little: right for their times, not for their labels."""
        import numpy as np

        from ase_mlwave.data.record import Dataset
        from ase_mlwave.data.writers import write_dataset

        record, rng = self._label[0], np.random.default_rng(0)
        splits = [settings.train_split] * (number - 1) + [settings.valid_split or settings.train_split]
        moved = tuple(
            replace(record, positions=record.positions + rng.normal(scale=1e-2, size=record.positions.shape)).with_info(
                split=split
            )
            for split in splits
        )
        path = self.folder / "copies.db"
        write_dataset(path, Dataset(records=moved, level=self.level.name, source="copies"))
        return path

    def _trained(self, data: Path, name: str, steps: int | None = None) -> tuple[float, float]:
        """Train on these data; seconds on the wall and of the CPU."""
        from ase_mlwave.models.training import start

        changes: dict[str, Any] = {"data": str(data), "output": str(self.folder / name)}
        changes |= {} if steps is None else {"steps": steps}
        file = self.recipe.training_file(self.folder / f"{name}.yaml", **changes)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        with _silence():
            start.train(file, progress=False)
        return time.perf_counter() - begin, time.process_time() - begin_cpu

    def evaluate(self) -> tuple[str, float]:
        """Time the evaluation on one molecule."""
        from ase_mlwave.calculators import load_calculator
        from ase_mlwave.cli.evaluate import measure_of
        from ase_mlwave.data.record import Dataset

        settings = self.recipe.evaluate
        calculator = load_calculator(str(self._model))
        measure = measure_of(calculator, str(self._model), settings)
        record = self._label[0]
        data = Dataset(records=(record,), level=self.level.name, source="one molecule")
        with _silence():
            seconds = _timed(lambda: measure(calculator, data))
        n = min(self._split[settings.split], settings.limit or self.n_geometries)
        return f"errors on {n} molecules, {_brief(seconds)} each, and the card", n * seconds


def _timed(function: Callable[[], object]) -> float:
    """Seconds of a call; of the second one where the first is brief, for it may have loaded something."""
    for _ in range(2):
        begin = time.perf_counter()
        function()
        seconds = time.perf_counter() - begin
        if seconds > _BRIEF:
            break
    return seconds


@contextmanager
def _silence() -> Iterator[None]:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _brief(seconds: float) -> str:
    """Write the time of one of many."""
    return f"{1e3 * seconds:.2g} ms" if seconds < 0.1 else f"{seconds:.0f} s" if seconds > 9.5 else f"{seconds:.2g} s"
