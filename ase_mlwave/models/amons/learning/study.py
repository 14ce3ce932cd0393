"""The labelled amons of a query: fit a model to them, see it converge, and save it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import Fit, fit_amons
from ase_mlwave.models.amons.fragments.geometry import Relax
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.inference import Prediction, predict_batch
from ase_mlwave.models.amons.learning.labels import models_beside
from ase_mlwave.models.amons.learning.settings import Displacements
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.regression.baseline import compositions
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.thresholds import query_limits, query_thresholds
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.reference.differences import base_labels
from ase_mlwave.systems.system import System
from ase_mlwave.units import HARTREE

__all__ = ["AmonStudy", "LearningPoint", "elements_of", "is_determined", "usual_preparations"]

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
    query : System or None
        The query, if it has coordinates.
    n_new : int
        Geometries that had to be labelled.
    displaced : Displacements or None
        At which displaced geometries forces were labelled, too.
    molecule : Molecule or None
        The query with its bonds, as it was read; None for crystals and where it is not known.
    preparations : tuple of (bool, "caps" or None)
        How the geometries of amons were prepared, as ``relax`` of `amon_geometries`: once for each of them.
    parts : tuple of AmonStudy
        Where several queries share one model, the study of each.
    base : str, optional
        Level of theory that models correct: labels of ``records`` and ``free_atoms`` are those of ``level`` less those
        of the base.
    """

    records: tuple[Record, ...]
    level: str
    free_atoms: dict[int, float]
    settings: FitSettings
    query: System | None
    n_new: int
    displaced: Displacements | None = None
    molecule: Molecule | None = None
    preparations: tuple[Relax, ...] = (None,)
    parts: tuple[AmonStudy, ...] = ()
    base: str | None = None

    @classmethod
    def pooled(cls, parts: Sequence[AmonStudy], free_atoms: dict[int, float]) -> AmonStudy:
        """Put the amons of several queries together, each geometry once.

        Parameters
        ----------
        parts : sequence of AmonStudy
            Of each query, at one level and with the same settings.
        free_atoms : dict of int to float
            As for one query, of all amons.

        Returns
        -------
        AmonStudy
        """
        records = {record.geometry_hash(): record for part in parts for record in part.records}
        return replace(
            parts[0],
            records=tuple(sorted(records.values(), key=lambda record: int(record.info["n_heavy"]))),
            free_atoms=free_atoms,
            query=None,
            n_new=sum(part.n_new for part in parts),
            molecule=None,
            preparations=tuple(dict.fromkeys(one for part in parts for one in part.preparations)),
            parts=tuple(parts),
        )

    @property
    def charges(self) -> tuple[int, ...]:
        """Total charges of the queries and of the amons."""
        own = {0 if part.molecule is None else sum(part.molecule.charges) for part in self.parts or (self,)}
        return tuple(sorted({*own, *(record.charge for record in self.records)}))

    @property
    def queries(self) -> list[System]:
        """The queries that have coordinates."""
        return [part.query for part in self.parts or (self,) if part.query is not None]

    @property
    def systems(self) -> list[System]:
        """What counts in the rule for the widths: all amons and the queries."""
        return [*self.records, *self.queries]

    def fit(self, max_heavy: int | None = None, device: torch.device | str = "cpu") -> Fit:
        """Fit a model to the amons with at most ``max_heavy`` heavy atoms, by default to all."""
        records = self._up_to(max_heavy)
        symbols = tuple(chemical_symbols[z] for z in elements_of(records))
        return fit_amons(
            records,
            self.level,
            self.settings,
            representation=None if self.displaced is None else SlatmConfig.for_forces(symbols),
            others=self.systems,
            free_atoms=self.free_atoms,
            base=self.base,
            device=device,
        )

    def learning_curve(self, query: System, device: torch.device | str = "cpu") -> list[LearningPoint]:
        """Predict the query from amons of growing size; sizes that lack one of its elements are left out."""
        points = []
        offset = 0.0 if self.base is None else base_labels(self.base, query).energy or 0.0
        for size in self._sizes:
            records = self._up_to(size)
            if not self._can_predict(query, records):
                continue
            (prediction,) = predict_batch(self.fit(size, device).model, [query], uncertainty=True)
            energy, deviation = offset + prediction.energy, prediction.uncertainty or 0.0
            points.append(LearningPoint(size, len(records), energy * HARTREE, deviation * HARTREE))
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
        Elsewhere deviations grow by the same factor (``python -m benchmarks.amons_calibration --defaults``);
        the largest factor counts where there are several queries.
        """
        misfit, growth = float(model.amplitude) * model.config.fit.penalty, 1.0
        smaller: dict[int, AmonModel] = {}  # fitted once for all queries
        for part in self.parts or (self,):
            if part.query is None:
                continue
            (now,) = predict_batch(model, [part.query], uncertainty=True)
            own = 0.0 if now.uncertainty is None else now.uncertainty**2
            more = misfit + (_STEPS * self._last_step(part.query, part._sizes, now, smaller, device)) ** 2
            growth = max(growth, 1 + more / own) if own > 0 else growth
        model.amplitude.mul_(growth)

    def _last_step(
        self,
        query: System,
        sizes: Sequence[int],
        now: Prediction,
        smaller: dict[int, AmonModel],
        device: torch.device | str,
    ) -> float:
        """Return what its largest amons change in the energy of a query, Hartree, shrunk; 0 where it is not known."""
        if len(sizes) < _FEWEST_SIZES:
            return 0.0
        is_own_amon = query.cell is None and sizes[-1] >= (query.numbers > 1).sum()
        if is_own_amon or not self._can_predict(query, self._up_to(sizes[-2])):
            return 0.0
        if sizes[-2] not in smaller:
            smaller[sizes[-2]] = self.fit(sizes[-2], device).model
        (before,) = predict_batch(smaller[sizes[-2]], [query], uncertainty=True)
        shrunk = min(1.0, (now.uncertainty or 0.0) / before.uncertainty) if before.uncertainty else 1.0
        return (now.energy - before.energy) * shrunk

    @property
    def _learned(self) -> str:
        """The level of what is learned."""
        return self.level if self.base is None else f"{self.level} minus {self.base}"

    @property
    def _sizes(self) -> list[int]:
        """Numbers of heavy atoms of the amons, ascending."""
        return sorted({int(record.info["n_heavy"]) for record in self.records})

    def _up_to(self, max_heavy: int | None) -> list[Record]:
        return [r for r in self.records if max_heavy is None or r.info["n_heavy"] <= max_heavy]

    def _can_predict(self, query: System, records: Sequence[Record]) -> bool:
        """Tell whether a model of some amons has all elements of the query, and energies of their atoms."""
        elements = elements_of(records)
        has_baseline = is_determined(records, elements) or set(elements) <= self.free_atoms.keys()
        return has_baseline and set(query.numbers.tolist()) <= set(elements)

    def save(self, folder: str | Path | None, database: str | Path, device: torch.device | str) -> Path:
        """Fit and write a model folder, by default beside the database, named by what was learned and from what.

        Parameters
        ----------
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
        model = self.fit(device=device).model
        self.cover(model, device)
        sha256 = Dataset(self.records, self.level, "").content_hash()
        source = f"{len(self.records)} amons, labelled at {self._learned}"
        packed = ModelFolder.pack(
            "amons",
            model,
            training_data=TrainingData(source=source, sha256=sha256, n_records=len(self.records)),
            card=_card(self),
            thresholds=query_thresholds(min(map(len, self.queries), default=None)),
            limits=query_limits(),
            charges=self.charges,
        )
        if folder is None:
            shape = b"".join(query.positions.tobytes() for query in self.queries)
            key = hashlib.sha256(sha256.encode() + self.settings.model_dump_json().encode() + shape).hexdigest()[:12]
            folder = models_beside(database) / key
        return packed.save(folder)


def usual_preparations(*, has_copies: bool) -> tuple[Relax, ...]:
    """Say how the geometries of a molecule's amons are prepared by default; copies are drawn of those of the first."""
    return (None, "caps") if has_copies else ("caps",)


def elements_of(records: Sequence[Record]) -> list[int]:
    """Return the atomic numbers of all elements, ascending."""
    return sorted({z for record in records for z in record.numbers.tolist()})


def is_determined(records: Sequence[Record], elements: Sequence[int]) -> bool:
    """Tell whether compositions determine the energies of dressed atoms."""
    counts = compositions([record.numbers for record in records], elements)
    return bool(np.linalg.matrix_rank(counts) == len(elements))


def _card(study: AmonStudy) -> str:
    names = dict.fromkeys(str(record.info["smiles"]) for record in study.records)
    listed = ", ".join(f"`{name}`" for name in names)
    whose = f"{len(study.parts)} queries" if study.parts else "one query"
    return (
        f"# Amons of {whose}\n\nFitted to {len(study.records)} geometries of {len(names)} amons at {study._learned}: "
        f"{listed}.\n\n"
        f"Good for {'these queries' if study.parts else 'this query'} and what is made of the same fragments; "
        "`calc.extras` tells the uncertainty of others.\n"
    )
