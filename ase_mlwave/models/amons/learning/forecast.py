"""How many labels a query takes, and about how long: said before they begin."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from ase.data import chemical_symbols

from ase_mlwave.data.record import Record
from ase_mlwave.data.rows import LABELLED
from ase_mlwave.models.amons.learning.copies import labelled_copies, sampler_level
from ase_mlwave.models.amons.learning.labels import Labeller, same_conformer
from ase_mlwave.models.amons.learning.settings import Displacements
from ase_mlwave.models.folder import list_models, read_config
from ase_mlwave.reference.labelling import label_rows

__all__ = ["announce_labels", "stand_in"]

#: Times grow with the number of atoms to about this power, between a semiempirical method and density fitting.
_POWER = 2.0
#: Labels from which on it is worth saying how long they take.
_MANY = 5
#: Labels that the estimate needs: one to warm up, one to be timed.
_FEWEST = 2
#: Steps of the dynamics that copies are drawn from: to heat up, and for each copy; the share of a label that one takes.
_HEATING, _BETWEEN, _STEP = 300, 50, 0.7
#: Seconds of a step of GFN2-xTB for ten atoms.
_CHEAP = 4e-3
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: The model that labels any neutral, closed-shell molecule of its elements in place of its method.
_STAND_IN = "phisnet-chno"


def announce_labels(
    amons: Sequence[Record],
    origins: Sequence[Record],
    labeller: Labeller,
    displaced: Displacements | None,
    announce: Callable[[str], None],
) -> int:
    """Say how many labels are to come and about how long they take; nothing where all are known.

    Parameters
    ----------
    amons : sequence of Record
        Amons, with ``"smiles"`` in ``info``.
    origins : sequence of Record
        Those of them that displaced copies are made of.
    labeller : Labeller
        What will label them.
    displaced : Displacements, optional
        How many copies.
    announce : callable
        Called with the line.

    Returns
    -------
    int
        How many rows of the database were labelled for the estimate.

    Notes
    -----
    For the estimate the smallest amon and one of middle size are labelled; the labels are kept.
    """
    file = labeller.open()
    rows = file.add_unless(amons, same_conformer)
    new = [row for row, state in file.states(rows).items() if state.status != LABELLED]
    lacking: list[tuple[Record, int]] = []
    if displaced is not None:
        known = file.records(file.add_unless(origins, same_conformer))
        counts = map(len, labelled_copies(labeller.database, known, displaced))
        lacking = [(one, displaced.number - n) for one, n in zip(known, counts, strict=True) if len(one) > 1]
    n_copies = sum(n for _, n in lacking)
    if not new and not n_copies:
        return 0
    seconds = None
    if len(new) > _MANY or n_copies > _MANY:
        by_row = dict(zip(rows, amons, strict=True))
        seconds = _forecast([by_row[row] for row in new], new, lacking, labeller, displaced)
    sizes = [int(record.info["n_heavy"]) for record in amons]
    text = f"{len(set(rows))} geometries of amons with up to {max(sizes)} heavy atoms: {len(new)} to label at "
    text += labeller.level.name
    if displaced is not None:
        text += f", and {n_copies} displaced copies to draw and label"
    if seconds is not None:
        text += f"; about {_duration(seconds)}{stand_in(amons, labeller.level.name)}"
    announce(text)
    return 0 if seconds is None else _FEWEST


def stand_in(amons: Sequence[Record], level: str) -> str:
    """Tell of the model that labels all of some amons in place of a level of theory.

    Parameters
    ----------
    amons : sequence of Record
        What is to be labelled.
    level : str
        Name of the level that was asked for.

    Returns
    -------
    str
        For the end of a line; empty if there is no such model, or it does not serve all of them.

    Notes
    -----
    Of amons of paracetamol phisnet-chno's labels took 12.2 CPU-seconds in place of 44 (docs/amons_forces.md).
    """
    if _STAND_IN not in list_models():
        return ""
    config = read_config(_STAND_IN)
    symbols = {chemical_symbols[z] for record in amons for z in record.numbers.tolist()}
    neutral = all(record.charge in config.charges and record.spin in config.spins for record in amons)
    if level != config.level or not symbols <= set(config.elements) or not neutral:
        return ""
    error = config.errors["response_energy_median_meV"]
    return f" (with reference={_STAND_IN!r}, {error:.1f} meV off in the median, a quarter of that)"


def _forecast(
    waiting: Sequence[Record],
    rows: Sequence[int],
    lacking: Sequence[tuple[Record, int]],
    labeller: Labeller,
    displaced: Displacements | None,
) -> float | None:
    """Estimate the seconds of all labels and dynamics from one label; None where there is none to time."""
    order = sorted(range(len(waiting)), key=lambda place: len(waiting[place]))
    if len(order) < _FEWEST:
        return None
    labeller.level.load()
    middle = order[len(order) // 2]
    _label(rows[order[0]], labeller)  # the first one takes longer
    start = time.perf_counter()
    _label(rows[middle], labeller)
    label = (time.perf_counter() - start) / _work(len(waiting[middle]))
    total = sum(label * _work(len(record)) for record in waiting)
    total += sum(label * _work(len(origin)) * n for origin, n in lacking)
    if displaced is not None and lacking:
        sampler = sampler_level(displaced, labeller.level).name
        step = _CHEAP / _work(10) if sampler.startswith("gfn") else _STEP * label
        total += sum((_HEATING + _BETWEEN * displaced.number) * step * _work(len(origin)) for origin, _ in lacking)
    return float(total / labeller.workers.n_workers)


def _label(row: int, labeller: Labeller) -> None:
    """Label one row, in this process where there is no executor: a pool starts more slowly than many labels take."""
    with ExitStack() as stack:
        workers = labeller.workers
        if workers.executor is None:
            workers = replace(workers, executor=stack.enter_context(ThreadPoolExecutor(1)), n_workers=1)
        label_rows(labeller.open(), labeller.level, [row], workers=workers)


def _work(n_atoms: int) -> float:
    return float(n_atoms**_POWER)


def _duration(seconds: float) -> str:
    """Write a time as one would say it."""
    for unit, name in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds > 1.5 * unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{max(1, round(seconds))} s"
