"""Hot copies of amons, at which forces are learned: drawn once for every conformer, labelled, kept in the database."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ase.calculators.calculator import CalculationFailed
from threadpoolctl import threadpool_limits

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Record
from ase_mlwave.data.stores import dataset_exists
from ase_mlwave.models.amons.learning.settings import Displacements
from ase_mlwave.reference.dynamics import sample_langevin
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.sampling import level_calculator
from ase_mlwave.reference.settings import LangevinSettings
from ase_mlwave.reference.workers import Workers, process_pool

__all__ = ["draw_copies", "labelled_copies", "sampler_level"]

#: Heat up, then take a geometry every 25 fs: torsions and bonds have moved on by then.
_DYNAMICS = LangevinSettings(timestep=0.5, friction=0.02, equilibration=150.0, interval=25.0)


#: Share of conformers whose dynamics may diverge, and how many are named.
_SPARED, _N_NAMED = 0.1, 5


def labelled_copies(database: str | Path, origins: Sequence[Record], displaced: Displacements) -> list[list[Record]]:
    """Find the labelled copies of conformers in a database.

    Parameters
    ----------
    database : str or Path
        May not exist.
    origins : sequence of Record
        Conformers as the database has them.
    displaced : Displacements
        Copies of another temperature or from other dynamics do not count.

    Returns
    -------
    list of list of Record
        For each conformer its first ``displaced.number`` copies.
    """
    places = {origin.geometry_hash(): place for place, origin in enumerate(origins)}
    copies: list[list[Record]] = [[] for _ in origins]
    for record in DatasetFile(database).read_some("origin", places) if dataset_exists(database) else ():
        if record.info.get("drawn") == _source(displaced):
            copies[places[record.info["origin"]]].append(record)
    return [sorted(some, key=lambda record: int(record.info["copy"]))[: displaced.number] for some in copies]


def draw_copies(
    origins: Sequence[Record],
    counts: Sequence[int],
    displaced: Displacements,
    reference: LevelOfTheory,
    *,
    workers: Workers,
    progress: Callable[[int], None] | None = None,
) -> list[Record]:
    """Draw copies of conformers from dynamics at constant temperature.

    Parameters
    ----------
    origins : sequence of Record
        Conformers; single atoms have no copies.
    counts : sequence of int
        How many copies of each are there already; a conformer that lacks some gets all anew, the same again.
    displaced : Displacements
        How many, and how hot.
    reference : LevelOfTheory
        That of the labels.
    workers : Workers
        Where to run; one without an executor is this process.
    progress : callable, optional
        Called with 1 after every conformer.

    Returns
    -------
    list of Record
        Without labels; ``info`` has also ``"origin"``, ``"drawn"`` and ``"copy"``.

    Raises
    ------
    CalculationFailed
        If the dynamics of more than one conformer in ten diverge; of fewer a warning tells.

    Notes
    -----
    A conformer always gets the same copies (``test_copies_are_drawn_once``).
    """
    level = sampler_level(displaced, reference)
    level.load()
    jobs = [
        (origin, displaced, level)
        for origin, count in zip(origins, counts, strict=True)
        if len(origin) > 1 and count < displaced.number
    ]
    copies: list[Record] = []
    failures: list[str] = []
    with ExitStack() as stack:
        for outcome in _mapped(jobs, workers, stack):
            if isinstance(outcome, str):
                failures.append(outcome)
            else:
                copies += outcome
            if progress is not None:
                progress(1)
    if failures:
        text = f"no copies at {displaced.temperature:g} K of {len(failures)} amons: {'; '.join(failures[:_N_NAMED])}"
        if len(failures) > _SPARED * len(jobs):
            raise CalculationFailed(f"{text}. Choose a lower temperature, or another sampler.")
        warnings.warn(f"{text}; the model is learned without these copies.", stacklevel=2)
    return copies


def sampler_level(displaced: Displacements, reference: LevelOfTheory) -> LevelOfTheory:
    """Return the level of the dynamics for labels of a reference level."""
    if displaced.sampler is not None:
        return LevelOfTheory.parse(displaced.sampler)
    if reference.is_fast or find_spec("tblite") is None:
        return reference
    return LevelOfTheory.parse("gfn2-xtb")


def _mapped(
    jobs: Sequence[tuple[Record, Displacements, LevelOfTheory]], workers: Workers, stack: ExitStack
) -> Iterable[list[Record] | str]:
    """Run the dynamics here, in processes or where the executor is."""
    if workers.executor is None and workers.n_workers == 1:
        return map(_draw, jobs)
    return (workers.executor or stack.enter_context(process_pool(workers.n_workers))).map(_draw, jobs)


def _draw(job: tuple[Record, Displacements, LevelOfTheory]) -> list[Record] | str:
    """Draw the copies of one conformer, or say why there are none."""
    origin, displaced, level = job
    key = origin.geometry_hash()
    start = origin.unlabelled()
    info = {"smiles": origin.info.get("smiles"), "n_heavy": origin.info.get("n_heavy"), "origin": key}
    try:
        with threadpool_limits(limits=1):
            geometries = sample_langevin(
                start,
                level_calculator(level, start),
                [displaced.temperature],
                displaced.number,
                int(key[:8], 16),
                _DYNAMICS,
            )
    except CalculationFailed as error:
        return f"{info['smiles']} ({error})"
    return [
        replace(record, info=info | {"drawn": _source(displaced), "copy": number})
        for number, record in enumerate(geometries)
    ]


def _source(displaced: Displacements) -> str:
    """Name the dynamics; how many copies are taken of them does not matter."""
    return f"{displaced.temperature:g} K, {displaced.sampler or 'default'}"
