"""From a query to a fitted model: find its amons, label those that the database lacks, fit, and see it converge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.data import chemical_symbols, ground_state_magnetic_moments

from ase_mlwave.amons.config import FitSettings
from ase_mlwave.amons.fitting import Fit, fit_amons
from ase_mlwave.amons.geometry import amon_geometries, geometry_fingerprint
from ase_mlwave.amons.inference import predict_batch
from ase_mlwave.amons.regression.baseline import compositions
from ase_mlwave.amons.regression.environments import Geometry
from ase_mlwave.amons.thresholds import query_thresholds
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.units import BOHR, HARTREE
from ase_mlwave.zoo import ModelFolder, TrainingData

__all__ = ["AmonStudy", "LearningPoint", "query_geometry", "save_study", "study_query"]

#: Largest difference of fingerprints, 1/Angstrom, up to which two geometries are one conformer.
_SAME = 0.01


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
        Amons that had to be labelled.
    """

    records: tuple[Record, ...]
    level: str
    free_atoms: dict[int, float]
    settings: FitSettings
    query: Geometry | None
    n_new: int

    @property
    def geometries(self) -> list[Geometry]:
        """What counts in the rule for the widths: all amons and the query."""
        own = [Geometry(record.numbers, record.positions) for record in self.records]
        return own if self.query is None else [*own, self.query]

    def fit(self, max_heavy: int | None = None, device: torch.device | str = "cpu") -> Fit:
        """Fit a model to the amons with at most ``max_heavy`` heavy atoms, by default to all."""
        kept = [r for r in self.records if max_heavy is None or r.info["n_heavy"] <= max_heavy]
        others, free = self.geometries, self.free_atoms
        return fit_amons(kept, self.level, self.settings, others=others, free_atoms=free, device=device)

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

    def _has_baseline(self, records: Sequence[Record]) -> bool:
        elements = _elements(records)
        return _determined(records, elements) or set(elements) <= self.free_atoms.keys()


def study_query(
    query: Any,
    *,
    reference: str | LevelOfTheory = "pbe/def2-svp",
    max_heavy: int = 5,
    max_contact_heavy: int | None = None,
    database: str | Path = "amons.db",
    settings: FitSettings | None = None,
    executor: Executor | None = None,
    n_workers: int = 1,
) -> AmonStudy:
    """Find the amons of a query and label those that the database lacks.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms or Record
        As for `ase_mlwave.amons.amons_of`.
    reference : str or LevelOfTheory
        Level of theory; must be that of the database.
    max_heavy, max_contact_heavy : int
        Largest amons, covalent ones and those that touch.
    database : str or Path
        An ASE database that grows; made if it does not exist.
    settings : FitSettings, optional
        How models are fitted; by default with forces along twelve random directions per amon.
    executor, n_workers
        As for `ase_mlwave.reference.labelling.label_geometries`.

    Returns
    -------
    AmonStudy

    Raises
    ------
    InputError
        If the query cannot be read, or the level is unknown or not that of the database.
    CalculationFailed
        If amons could not be labelled; the message names them.

    Notes
    -----
    An amon is known if the database has the same SMILES in the same conformer (sorted row sums of 1/r_ij within 0.01
    per Angstrom): a second query pays for the others only (``test_second_query_pays_for_new_amons_only``).
    """
    level = LevelOfTheory.parse(reference) if isinstance(reference, str) else reference
    path = Path(database)
    wanted = [_shared(record) for record in amon_geometries(query, max_heavy, max_contact_heavy=max_contact_heavy)]
    known = _known(path, wanted)
    new = [record for record, there in zip(wanted, known, strict=True) if there is None]

    def label(records: list[Record]) -> list[Record]:
        file = label_geometries(records, path, level, executor=executor, n_workers=n_workers)
        return _labels(file, records)

    labels = iter(label(new) if new or not path.exists() else [])
    records = tuple(next(labels) if there is None else there for there in known)
    free = [] if _determined(records, _elements(records)) else [_free_atom(z) for z in _elements(records)]
    free_atoms = {int(r.numbers[0]): float(r.energy) for r in label(free) if r.energy is not None} if free else {}
    chosen = settings or FitSettings(directions=12)
    return AmonStudy(records, level.name, free_atoms, chosen, query_geometry(query), len(new))


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
    data = Dataset(study.records, study.level, str(database))
    sha256 = data.content_hash()
    source = f"{len(study.records)} amons, labelled at {study.level}"
    packed = ModelFolder.pack(
        "amons",
        fit.model,
        training_data=TrainingData(source=source, sha256=sha256, n_records=len(study.records)),
        card=_card(study),
        thresholds=query_thresholds(None if study.query is None else len(study.query)),
    )
    if folder is None:
        place = Path(database)
        shape = b"" if study.query is None else study.query.positions.tobytes()
        key = hashlib.sha256(sha256.encode() + study.settings.model_dump_json().encode() + shape).hexdigest()[:12]
        folder = place.with_name(f"{place.stem}-models") / key
    return packed.save(folder)


def query_geometry(query: Any) -> Geometry | None:
    """Return the geometry of a query that is ``Atoms`` or a record, in Bohr; None for others."""
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


def _known(path: Path, wanted: Sequence[Record]) -> list[Record | None]:
    """Find each amon among those that are labelled."""
    there: dict[str, list[Record]] = {}
    for record in DatasetFile(path).read() if path.exists() else ():
        there.setdefault(str(record.info.get("smiles")), []).append(record)
    return [next((k for k in there.get(r.info["smiles"], ()) if _same(k, r)), None) for r in wanted]


def _same(known: Record, wanted: Record) -> bool:
    """Tell whether two geometries of one SMILES are the same conformer."""
    if len(known) != len(wanted) or (known.charge, known.spin) != (wanted.charge, wanted.spin):
        return False
    difference = geometry_fingerprint(known.positions) - geometry_fingerprint(wanted.positions)
    return bool(np.abs(difference).sum() <= _SAME)


def _labels(file: DatasetFile, records: Sequence[Record]) -> list[Record]:
    """Return the labelled records of a file for geometries that were asked for, in their order."""
    failed = {failure.record.geometry_hash(): failure.reason for failure in file.failures()}
    labelled: dict[str, list[Record]] = {}
    for record in file.read():
        labelled.setdefault(str(record.info.get("smiles")), []).append(record)
    found, missing = [], []
    for record in records:
        near = (r for r in labelled.get(str(record.info["smiles"]), ()) if r.spin == record.spin)
        match = next((r for r in near if _alike(r, record)), None)
        if match is None:
            missing.append(f"{record.info['smiles']} ({failed.get(record.geometry_hash(), 'no label')})")
        else:
            found.append(match)
    if missing:
        raise CalculationFailed(
            f"{len(missing)} amons could not be labelled at {file.level}: {'; '.join(missing[:5])}. Their rows are "
            f"marked as failed in {file.path}; try another level of theory, or a smaller max_heavy."
        )
    return found


def _alike(one: Record, other: Record) -> bool:
    """Tell whether two records have the same atoms in the same places, but for the rounding of a file's units."""
    same = np.array_equal(one.numbers, other.numbers)
    return same and bool(np.allclose(one.positions, other.positions, rtol=0, atol=1e-9))


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
    names = [str(record.info["smiles"]) for record in study.records]
    listed = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
    return (
        f"# Amons of one query\n\nFitted to {len(names)} geometries of amons at {study.level}: {listed}.\n\n"
        "Good for this query and what is made of the same fragments; `calc.extras` tells the uncertainty of others.\n"
    )
