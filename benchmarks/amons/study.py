"""What classes share: relax, label into a database that may be resumed, fit, predict, and see the error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import CalculationFailed, InputError
from ase.constraints import FixAtoms
from ase.data import chemical_symbols, ground_state_magnetic_moments
from ase.optimize import BFGS
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.spatial import cKDTree

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.fragments.conformers import ConformerSet, geometry_fingerprint, most_different
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.models.amons.fragments.perception import bonded_pairs
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.reference.labelling import Progress as Labelled
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import CalculatorLevel, LevelOfTheory
from ase_mlwave.units import BOHR, HARTREE_PER_BOHR
from benchmarks.amons.curve import KCAL_PER_MOL, Curve, Options

__all__ = [
    "LIKELY",
    "PUBLISHED",
    "Query",
    "Relaxing",
    "bar",
    "cut_amons",
    "distinct",
    "free_atoms",
    "label",
    "learning_curves",
    "need",
]

#: How the publication fits: energies alone, widths and penalty by rule.
PUBLISHED = FitSettings(directions=0)
#: Where amons are many: widths and penalty by maximum likelihood.
LIKELY = FitSettings(directions=0, hyperparameters="likelihood")
#: Queries that are predicted at a time, and that count in the rule for the widths.
_BATCH, _FOR_WIDTHS = 20, 50
#: An atom of an amon that is no nearer to one of the query is a cap, Bohr.
_PLACE = 1e-4


@dataclass(frozen=True)
class Query:
    """Hold a system to be predicted.

    Parameters
    ----------
    system : str
        Its name.
    geometry : Geometry
        Bohr.
    energy : float
        Reference, Hartree.
    per : str
        Unit in which its error is given.
    n_units : int
        How many of these it has.
    """

    system: str
    geometry: Geometry
    energy: float
    per: str = "molecule"
    n_units: int = 1

    @classmethod
    def of(cls, record: Record, system: str, per: str = "molecule", n_units: int = 1) -> Query:
        """Take a labelled molecule."""
        if record.energy is None:
            raise ValueError(f"{system} has no energy.")
        return cls(system, Geometry(record.numbers, record.positions), record.energy, per, n_units)


class Relaxing(LevelOfTheory):
    """Relax with one level of theory, then label with the same or another one.

    Amons that say which atoms are caps (`cut_amons`) are relaxed in those alone.

    Parameters
    ----------
    relaxation : CalculatorLevel
        What relaxes.
    labels : LevelOfTheory, optional
        What labels; by default the same.
    largest_force : float
        On an atom, at which to stop, Hartree/Bohr.
    steps : int
        Most steps; what has not converged by then is labelled as it is.

    Notes
    -----
    A molecule whose bonds change counts as failed.
    """

    def __init__(
        self,
        relaxation: CalculatorLevel,
        labels: LevelOfTheory | None = None,
        *,
        largest_force: float = 2e-3,
        steps: int = 100,
    ) -> None:
        self.relaxation, self.labels = relaxation, labels or relaxation
        self.largest_force, self.steps = largest_force, steps

    @property
    def name(self) -> str:
        """Both levels, as quantum chemists write them."""
        return f"{self.labels.name}//{self.relaxation.name}"

    def settings(self) -> dict[str, Any]:
        """Return what decides the numbers."""
        how = {"largest_force": self.largest_force, "steps": self.steps}
        return {"labels": self.labels.settings(), "relaxation": self.relaxation.settings() | how}

    def load(self) -> None:
        """Load both programs."""
        self.relaxation.load()
        self.labels.load()

    def label(self, molecule: Any) -> Record:
        """Relax, and label the relaxed geometry."""
        atoms = atoms_from_record(molecule)
        bonds, _ = bonded_pairs(atoms)
        if "caps" in molecule.info:
            atoms.set_constraint(FixAtoms(sorted({*range(len(atoms))} - {*molecule.info["caps"]})))
        atoms.calc = self.relaxation.calculator(molecule)
        BFGS(atoms, logfile=None).run(fmax=self.largest_force * HARTREE_PER_BOHR, steps=self.steps)
        if bonded_pairs(atoms)[0] != bonds:
            raise CalculationFailed(f"{molecule.formula} became another molecule when it was relaxed.")
        return self.labels.label(replace(molecule, positions=atoms.positions / BOHR))


def cut_amons(query: Record, max_heavy: int, **others: Any) -> tuple[Record, ...]:
    """Cut amons whose atoms stay where they are in the query; only the hydrogens that cap cut bonds may move.

    Parameters
    ----------
    query : Record
        Relaxed.
    max_heavy : int
        Of the largest amons.
    **others
        For `amon_geometries`.

    Returns
    -------
    tuple of Record
        ``info["caps"]`` lists the atoms that the query has not.

    Notes
    -----
    The environments of an amon are then those of the query but for what was cut off, at the same distances and angles:
    what the energies of relaxed amons lack is the energy that their bending takes.
    """
    amons = amon_geometries(query, max_heavy, relax=False, **others)
    tree = cKDTree(query.positions)
    caps = [np.flatnonzero(tree.query(amon.positions)[0] > _PLACE).tolist() for amon in amons]
    return tuple(replace(amon, info={**amon.info, "caps": own}) for amon, own in zip(amons, caps, strict=True))


def label(
    records: Sequence[Record], path: Path, level: LevelOfTheory, options: Options, title: str
) -> list[Record | None]:
    """Label molecules, or read what the database has of them already.

    Parameters
    ----------
    records : sequence of Record, (B,)
        Geometries.
    path : Path
        Database; made, or resumed.
    level : LevelOfTheory
        Must be the database's.
    options : Options
        Workers and whether to show progress.
    title : str
        Beside the bar.

    Returns
    -------
    list of Record or None, (B,)
        In the order given, matrices left out, with ``info`` as given; None where labelling failed.
    """
    named = [replace(record, info={**record.info, "asked": _key(record)}) for record in records]
    with bar(options, title) as advance:
        done = 0

        def report(progress: Labelled) -> None:
            nonlocal done
            advance(progress.n_done - done, progress.n_to_do)
            done = progress.n_done

        file = label_geometries(named, path, level, n_workers=options.n_workers, progress=report)
    found = {str(record.info.get("asked")): record for record in file.read()}
    labelled = [found.get(str(record.info["asked"])) for record in named]
    return [
        None if label is None else replace(label, matrices={}, info=record.info)
        for record, label in zip(records, labelled, strict=True)
    ]


def _key(record: Record) -> str:
    """Name a geometry as the database does."""
    return f"sha256:{record.geometry_hash()}"


def distinct(records: Iterable[Record], max_conformers: int | None = None) -> list[Record]:
    """Keep every amon once: one record per SMILES and conformer.

    Parameters
    ----------
    records : iterable of Record
        Amons, of many queries.
    max_conformers : int, optional
        Most conformers of an amon: those that differ most.

    Returns
    -------
    list of Record
        Sorted by number of heavy atoms, then by SMILES.
    """
    seen: dict[tuple[int, str], tuple[ConformerSet, list[Record]]] = {}
    for record in records:
        key = int(record.info["n_heavy"]), f"{record.info['smiles']} {record.formula}"
        conformers, kept = seen.setdefault(key, (ConformerSet(), []))
        if conformers.add(record.positions):
            kept.append(record)
    found: list[Record] = []
    for _, (_, kept) in sorted(seen.items(), key=lambda item: item[0]):
        fingerprints = np.array([geometry_fingerprint(record.positions) for record in kept])
        chosen = range(len(kept)) if max_conformers is None else most_different(fingerprints, max_conformers)
        found += [kept[index] for index in chosen]
    return found


def free_atoms(numbers: Sequence[int], level: LevelOfTheory) -> dict[int, float]:
    """Compute the energies of free atoms, Hartree, by atomic number."""
    energies = {}
    for number in sorted(set(numbers)):
        spin = int(ground_state_magnetic_moments[number])
        atom = level.label(Record(np.array([number]), np.zeros((1, 3)), spin=spin))
        if atom.energy is None:
            raise CalculationFailed(f"{level.name} gives no energy for {chemical_symbols[number]}.")
        energies[number] = atom.energy
    return energies


def learning_curves(
    queries: Sequence[Query],
    amons: Sequence[Record],
    level: str,
    *,
    free: dict[int, float],
    settings: FitSettings = PUBLISHED,
    sizes: Sequence[int] | None = None,
    also: Sequence[Geometry] = (),
    options: Options | None = None,
    **others: Any,
) -> list[Curve]:
    """Predict queries from amons of growing size.

    Parameters
    ----------
    queries : sequence of Query
        Systems; the first 50 of them, and the amons learned from, count in the rule for the kernel's widths.
    amons : sequence of Record
        Labelled; ``info["n_heavy"]`` is their size.
    level : str
        Level of theory of both.
    free : dict of int to float
        Energies of free atoms, Hartree.
    settings : FitSettings
        How models are fitted.
    sizes : sequence of int, optional
        Points of the curves; by default all sizes of the amons.
    also : sequence of Geometry
        What else counts in the rule for the widths.
    options : Options, optional
        Whether to show progress.
    **others
        For `fit_amons`, such as ``representation``.

    Returns
    -------
    list of Curve
        One per query, with the points at which amons know all of its elements.
    """
    points: list[list[tuple[int, int, float]]] = [[] for _ in queries]
    geometries = [query.geometry for query in queries]
    wanted = sorted(sizes or {int(record.info["n_heavy"]) for record in amons})
    with bar(options, "fit and predict") as advance:
        for size in wanted:
            kept = [record for record in amons if record.info["n_heavy"] <= size]
            known = {z for record in kept for z in record.numbers.tolist()}
            chosen = [n for n, query in enumerate(queries) if set(query.geometry.numbers.tolist()) <= known]
            if chosen:
                seen = _of([*also, *geometries[:_FOR_WIDTHS]], known)
                fit = fit_amons(kept, level, settings, others=seen, free_atoms=free, **others)
                for start in range(0, len(chosen), _BATCH):
                    some = chosen[start : start + _BATCH]
                    predictions = predict_batch(fit.model, [geometries[n] for n in some])
                    for n, found in zip(some, predictions, strict=True):
                        error = (found.energy - queries[n].energy) * KCAL_PER_MOL / queries[n].n_units
                        points[n].append((size, len(kept), error))
            advance(1, len(wanted))
    return [_curve(query, found) for query, found in zip(queries, points, strict=True)]


def _of(geometries: Sequence[Geometry], known: set[int]) -> list[Geometry]:
    """Choose those whose elements are all known."""
    return [geometry for geometry in geometries if set(geometry.numbers.tolist()) <= known]


def _curve(query: Query, points: Sequence[tuple[int, int, float]]) -> Curve:
    columns = list(zip(*points, strict=True)) or [(), (), ()]
    sizes, n_amons, errors = columns
    return Curve(query.system, query.energy, sizes, n_amons, errors, query.per, len(query.geometry))  # type: ignore[arg-type]


@contextmanager
def bar(options: Options | None, title: str) -> Iterator[Any]:
    """Show a progress bar; yields a function of (steps done, steps in all)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=options is None or not options.progress) as progress:
        task = progress.add_task(title, total=None)
        yield lambda steps, total: progress.update(task, advance=steps, total=total)


def need(options: Options, name: str) -> Path:
    """Return the file that an option names."""
    path: Path | None = getattr(options, name)
    if path is None or not path.is_file():
        raise InputError(f"this class needs a file: --{name} PATH (got {path}).")
    return path
