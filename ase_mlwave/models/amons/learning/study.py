"""From a query to a fitted model: find its amons, label those that the database lacks, fit, and see it converge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols, ground_state_magnetic_moments

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import Fit, fit_amons
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import read_query
from ase_mlwave.models.amons.inference import Prediction, predict_batch
from ase_mlwave.models.amons.learning.copies import Displacements, draw_copies, known_copies, needed
from ase_mlwave.models.amons.learning.forecast import announce_labels
from ase_mlwave.models.amons.learning.labels import find_or_label, models_beside
from ase_mlwave.models.amons.learning.sizes import chosen_contacts, usual_max_heavy
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.regression.baseline import compositions
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.thresholds import query_limits, query_thresholds
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.reference.labelling import Progress, label_geometries
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.workers import Workers
from ase_mlwave.units import BOHR, HARTREE

#: How an amon's geometry is prepared, see ``relax`` of `amon_geometries`.
Way: TypeAlias = bool | Literal["caps"] | None

__all__ = ["AmonStudy", "LearningPoint", "label_amons", "label_copies", "query_geometry", "save_study", "study_query"]


#: What the rest of a learning curve is held to be worth: so many of its last steps, shrunk as the deviations shrink.
_STEPS = 3.0
#: Sizes of amons that a step takes.
_FEWEST_SIZES = 2


@dataclass(frozen=True)
class LearningPoint:
    """One point of a learning curve.

    Parameters
    ----------
    max_heavy : int
        Heavy atoms of the largest amons that were learned from.
    n_amons : int
        Number of their geometries.
    energy : float
        Of the query, eV.
    uncertainty : float
        Its standard deviation, eV.
    """

    max_heavy: int
    n_amons: int
    energy: float
    uncertainty: float


@dataclass(frozen=True)
class AmonStudy:
    """Hold the labelled amons of a query.

    Parameters
    ----------
    records : tuple of Record
        Labelled amons, sorted by size; ``info`` has ``"smiles"`` and ``"n_heavy"``.
    level : str
        Level of theory.
    free_atoms : dict of int to float
        Atomic number -> energy of the free atom, Hartree, where the compositions of the amons need them.
    settings : FitSettings
        How models are fitted.
    query : Geometry or None
        The query, if it has coordinates.
    n_new : int
        Geometries that had to be labelled.
    displaced : Displacements or None
        At which displaced geometries forces were labelled, too.
    molecule : Molecule or None
        The query with its bonds, as it was read; None for crystals and where it is not known.
    ways : tuple of (bool, "caps" or None)
        How the geometries of amons were prepared, as ``relax`` of `amon_geometries`: once for each of them.
    """

    records: tuple[Record, ...]
    level: str
    free_atoms: dict[int, float]
    settings: FitSettings
    query: Geometry | None
    n_new: int
    displaced: Displacements | None = None
    molecule: Molecule | None = None
    ways: tuple[Way, ...] = (None,)

    @property
    def charges(self) -> tuple[int, ...]:
        """Total charges of the query and of the amons."""
        own = 0 if self.molecule is None else sum(self.molecule.charges)
        return tuple(sorted({own, *(record.charge for record in self.records)}))

    @property
    def geometries(self) -> list[Geometry]:
        """What counts in the rule for the widths: all amons and the query."""
        own = [Geometry(record.numbers, record.positions) for record in self.records]
        return own if self.query is None else [*own, self.query]

    def fit(self, max_heavy: int | None = None, device: torch.device | str = "cpu") -> Fit:
        """Fit a model to the amons with at most ``max_heavy`` heavy atoms, by default to all."""
        kept = [r for r in self.records if max_heavy is None or r.info["n_heavy"] <= max_heavy]
        symbols = tuple(chemical_symbols[z] for z in _elements(kept))
        return fit_amons(
            kept,
            self.level,
            self.settings,
            representation=None if self.displaced is None else SlatmConfig.for_forces(symbols),
            others=self.geometries,
            free_atoms=self.free_atoms,
            device=device,
        )

    def learning_curve(self, query: Geometry, device: torch.device | str = "cpu") -> list[LearningPoint]:
        """Predict the query from amons of growing size; sizes that lack one of its elements are left out."""
        points = []
        for size in sorted({record.info["n_heavy"] for record in self.records}):
            kept = [record for record in self.records if record.info["n_heavy"] <= size]
            known = {z for record in kept for z in record.numbers.tolist()}
            if not set(query.numbers.tolist()) <= known or not self._has_baseline(kept):
                continue
            (found,) = predict_batch(self.fit(size, device).model, [query], uncertainty=True)
            deviation = 0.0 if found.uncertainty is None else found.uncertainty
            points.append(LearningPoint(int(size), len(kept), found.energy * HARTREE, deviation * HARTREE))
        return points

    def cover(self, model: AmonModel, device: torch.device | str = "cpu") -> None:
        """Widen the deviations of a model of all amons to cover what its own prediction of the query shows.

        Parameters
        ----------
        model : AmonModel
            From `fit`; its amplitude is changed.
        device : torch.device or str
            Where to fit.

        Notes
        -----
        At the query the deviation becomes the root of three squares: the Gaussian process's own; that of what the fit
        does not follow in the energies of amons; and three times the last step of the learning curve, multiplied by the
        factor by which the process's deviation shrank in that step. The last is what errors share that environments do
        not know of, such as polarisation along a peptide; it is left out where the query is its own largest amon.
        Elsewhere deviations grow by the same factor (``python -m benchmarks.amons_calibration --defaults``).
        """
        if self.query is None:
            return
        (now,) = predict_batch(model, [self.query], uncertainty=True)
        own = 0.0 if now.uncertainty is None else now.uncertainty**2
        misfit = float(model.amplitude) * model.config.fit.penalty
        more = misfit + (_STEPS * self._last_step(now, device)) ** 2
        if own > 0:
            model.amplitude.mul_(1 + more / own)

    def _last_step(self, now: Prediction, device: torch.device | str) -> float:
        """Return what the largest amons change in the energy of the query, Hartree, shrunk; 0 where it is not known."""
        sizes = sorted({int(record.info["n_heavy"]) for record in self.records})
        query = self.query
        if query is None or len(sizes) < _FEWEST_SIZES:
            return 0.0
        if query.cell is None and sizes[-1] >= (query.numbers > 1).sum():
            return 0.0
        kept = [record for record in self.records if record.info["n_heavy"] < sizes[-1]]
        known = {z for record in kept for z in record.numbers.tolist()}
        if not set(query.numbers.tolist()) <= known or not self._has_baseline(kept):
            return 0.0
        (before,) = predict_batch(self.fit(sizes[-2], device).model, [query], uncertainty=True)
        shrunk = min(1.0, (now.uncertainty or 0.0) / before.uncertainty) if before.uncertainty else 1.0
        return (now.energy - before.energy) * shrunk

    def _has_baseline(self, records: Sequence[Record]) -> bool:
        elements = _elements(records)
        return _determined(records, elements) or set(elements) <= self.free_atoms.keys()


def study_query(
    query: Any,
    *,
    reference: str | LevelOfTheory = "pbe/def2-svp",
    max_heavy: int | None = None,
    max_contact_heavy: int | None = None,
    database: str | Path = "amons.db",
    settings: FitSettings | None = None,
    displaced: Displacements | int = 32,
    keep_geometry: bool | None = None,
    executor: Executor | None = None,
    n_workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> AmonStudy:
    """Find the amons of a query and label those that the database lacks.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms or Record
        As for `ase_mlwave.models.amons.amons_of`.
    reference : str or LevelOfTheory
        Level of theory; must be that of the database.
    max_heavy, max_contact_heavy : int
        Largest amons, covalent ones and those that touch; see `usual_max_heavy` and `usual_contact_heavy` for what is
        taken by default. With 0 there are none that touch, and a warning says how many contacts are left out.
    database : str or Path
        An ASE database that grows; made if it does not exist.
    settings : FitSettings, optional
        How models are fitted; by default `FitSettings.for_forces`, and without displaced copies the publication's rules
        for energies alone.
    displaced : Displacements or int
        Displaced copies of every amon, at which forces are learned; 0 for none. For energies alone
        (``FitSettings(directions=0)``) none are made.
    keep_geometry : bool, optional
        Amons keep the query's coordinates, but for the hydrogens that cap cut bonds, or are relaxed with MMFF94; by
        default those of molecules keep them where no displaced copies are made, and else there are both.
    executor, n_workers, progress
        As for `ase_mlwave.reference.labelling.label_geometries`; one worker is a thread of this process, so that a
        script needs no ``if __name__ == "__main__":``.
    announce : callable, optional
        Called with a line on how many labels there are to come, and about how long they take.

    Returns
    -------
    AmonStudy

    Raises
    ------
    InputError
        If the query cannot be read, or the level is unknown or not that of the database.
    CalculationFailed
        If more than one amon in ten could not be labelled; the message names them.

    Notes
    -----
    An amon is known if the database has the same SMILES in the same conformer (sorted row sums of 1/r_ij within 0.01
    per Angstrom): a second query pays for the others only (``test_second_query_pays_for_new_amons_only``).
    """
    level = LevelOfTheory.parse(reference) if isinstance(reference, str) else reference
    hot = needed(displaced, settings)
    query = read_query(query)
    largest = usual_max_heavy(query) if max_heavy is None else max_heavy
    contact = chosen_contacts(query, max_contact_heavy)
    ways = _ways(query, keep_geometry, hot)
    cut: dict[str, Any] = {"max_contact_heavy": contact, "allow_charges": True, "complete": True}
    cuts = [amon_geometries(query, largest, relax=way, **cut) for way in ways]
    shared, own = ([_shared(record) for record in one] for one in (cuts[0], [r for one in cuts[1:] for r in one]))
    with ExitStack() as stack:
        n_timed = 0
        if announce is not None:
            n_timed = announce_labels(
                [*shared, *own], shared, database, level, hot, Workers(executor, n_workers), announce
            )
        if executor is None and n_workers == 1:
            executor = stack.enter_context(ThreadPoolExecutor(1))
        run: dict[str, Any] = {"executor": executor, "n_workers": n_workers, "progress": progress}
        records, n_new = label_amons([*shared, *own], database, level, **run)
        free = [] if _determined(records, _elements(records)) else [_free_atom(z) for z in _elements(records)]
        atoms, _ = label_amons(free, database, level, **run) if free else ((), 0)
        if hot is not None:
            origins, _ = label_amons(shared, database, level, **run)
            copies, n_copies = label_copies(origins, database, level, hot, **run)
            records, n_new = records + copies, n_new + n_copies
    free_atoms = {int(r.numbers[0]): float(r.energy) for r in atoms if r.energy is not None}
    chosen = settings or (FitSettings(directions=0) if hot is None else FitSettings.for_forces())
    bonds = None if isinstance(query, Atoms) else query
    ordered = tuple(sorted(records, key=lambda record: int(record.info["n_heavy"])))
    total = n_new + n_timed
    return AmonStudy(ordered, level.name, free_atoms, chosen, query_geometry(query), total, hot, bonds, ways)


def _ways(query: Atoms | Molecule, keep_geometry: bool | None, hot: Displacements | None) -> tuple[Way, ...]:
    """Say how the geometries of amons are prepared; copies are drawn of those of the first way."""
    if isinstance(query, Atoms) or keep_geometry is not None:
        return ("caps",) if keep_geometry else (None,)
    if hot is None:
        return ("caps",)
    return (None,) if query.positions is None else (None, "caps")


def label_amons(
    wanted: Sequence[Record],
    database: str | Path,
    level: LevelOfTheory,
    *,
    executor: Executor | None = None,
    n_workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[tuple[Record, ...], int]:
    """Look amons up in a database, and label those that it lacks.

    Parameters
    ----------
    wanted : sequence of Record
        With ``"smiles"`` in ``info``.
    database : str or Path
        Made if it does not exist.
    level : LevelOfTheory
        Must be that of the database.
    executor, n_workers, progress
        As for `ase_mlwave.reference.labelling.label_geometries`.

    Returns
    -------
    records : tuple of Record
        With labels, in the order given, each once; where the database has the same conformer, its own. Without those
        that could not be labelled, of which a warning tells.
    n_new : int
        How many had to be labelled.

    Raises
    ------
    InputError, CalculationFailed
        As `study_query`.
    """
    workers = Workers(executor, n_workers)
    records, n_new = find_or_label(wanted, database, level, workers=workers, progress=progress)
    return tuple({record.geometry_hash(): record for record in records}.values()), n_new


def label_copies(
    origins: Sequence[Record],
    database: str | Path,
    level: LevelOfTheory,
    displaced: Displacements,
    *,
    executor: Executor | None = None,
    n_workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[tuple[Record, ...], int]:
    """Look displaced copies of conformers up in a database; draw and label those that it lacks.

    Parameters
    ----------
    origins : sequence of Record
        Conformers as `label_amons` returned them.
    database, level, executor, n_workers, progress
        As for `label_amons`.
    displaced : Displacements
        Which copies.

    Returns
    -------
    records : tuple of Record
        With labels, by conformer.
    n_new : int
        How many had to be labelled.

    Raises
    ------
    CalculationFailed
        If dynamics diverge, or labels fail.
    """
    counts = [len(some) for some in known_copies(database, origins, displaced)]
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress(Progress(0, 0, 0, len(origins), done, stage="drawing copies"))

    drawn = draw_copies(origins, counts, displaced, level, executor=executor, n_workers=n_workers, progress=advance)
    before = sum(counts)
    if drawn:
        label_geometries(
            drawn, database, level, executor=executor, n_workers=n_workers, leftovers=False, progress=progress
        )
    found = [record for some in known_copies(database, origins, displaced) for record in some]
    return tuple(found), len(found) - before


def save_study(study: AmonStudy, folder: str | Path | None, database: str | Path, device: torch.device | str) -> Path:
    """Fit and write a model folder, by default beside the database, named by what was learned and from what.

    Parameters
    ----------
    study : AmonStudy
        Labelled amons.
    folder : str or Path, optional
        Where to write.
    database : str or Path
        File beside which the default folder is made.
    device : torch.device or str
        Where to fit.

    Returns
    -------
    Path
    """
    fit = study.fit(device=device)
    study.cover(fit.model, device)
    data = Dataset(study.records, study.level, "")
    sha256 = data.content_hash()
    n_atoms = None if study.query is None else len(study.query)
    source = f"{len(study.records)} amons, labelled at {study.level}"
    packed = ModelFolder.pack(
        "amons",
        fit.model,
        training_data=TrainingData(source=source, sha256=sha256, n_records=len(study.records)),
        card=_card(study),
        thresholds=query_thresholds(n_atoms),
        limits=query_limits(),
        charges=study.charges,
    )
    if folder is None:
        shape = b"" if study.query is None else study.query.positions.tobytes()
        key = hashlib.sha256(sha256.encode() + study.settings.model_dump_json().encode() + shape).hexdigest()[:12]
        folder = models_beside(database) / key
    return packed.save(folder)


def query_geometry(query: Any) -> Geometry | None:
    """Return the geometry of a query that is ``Atoms``, a record or a molecule with coordinates, Bohr; else None."""
    if isinstance(query, Molecule) and query.positions is not None:
        return Geometry(np.array(query.numbers, dtype=np.int64), np.array(query.positions))
    if isinstance(query, Record):
        return Geometry(query.numbers, query.positions)
    if not isinstance(query, Atoms):
        return None
    numbers, positions = np.array(query.numbers, dtype=np.int64), np.array(query.positions) / BOHR
    if not query.pbc.any():
        return Geometry(numbers, positions)
    return Geometry(numbers, positions, cell=np.array(query.cell.complete()) / BOHR, pbc=np.array(query.pbc))


def _shared(record: Record) -> Record:
    """Drop what is of this query only."""
    return replace(record, info={key: record.info[key] for key in ("smiles", "n_heavy")})


def _elements(records: Sequence[Record]) -> list[int]:
    return sorted({z for record in records for z in record.numbers.tolist()})


def _determined(records: Sequence[Record], elements: Sequence[int]) -> bool:
    """Tell whether compositions determine the energies of dressed atoms."""
    counts = compositions([record.numbers for record in records], elements)
    return bool(np.linalg.matrix_rank(counts) == len(elements))


def _free_atom(number: int) -> Record:
    spin = int(ground_state_magnetic_moments[number])
    info = {"smiles": f"[{chemical_symbols[number]}]", "n_heavy": int(number > 1)}
    return Record(np.array([number]), np.zeros((1, 3)), spin=spin, info=info)


def _card(study: AmonStudy) -> str:
    names = dict.fromkeys(str(record.info["smiles"]) for record in study.records)
    listed = ", ".join(f"`{name}`" for name in names)
    return (
        f"# Amons of one query\n\nFitted to {len(study.records)} geometries of {len(names)} amons at {study.level}: "
        f"{listed}.\n\n"
        "Good for this query and what is made of the same fragments; `calc.extras` tells the uncertainty of others.\n"
    )
