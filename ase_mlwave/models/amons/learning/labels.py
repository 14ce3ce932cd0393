"""The shared database of labelled amons: what it has is looked up, what it lacks is labelled once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import CalculationFailed, InputError
from ase.data import chemical_symbols, ground_state_magnetic_moments

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Record
from ase_mlwave.data.rows import LABELLED
from ase_mlwave.data.stores import is_server
from ase_mlwave.models.amons.fragments.conformers import geometry_fingerprint, is_same_conformer
from ase_mlwave.models.amons.learning.copies import draw_copies, labelled_copies
from ase_mlwave.models.amons.learning.settings import Displacements, Labelling, StudySettings
from ase_mlwave.reference.labelling import Progress, label_geometries, label_rows, open_dataset
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.workers import Workers

__all__ = ["Labeller", "models_beside", "same_conformer"]

_N_NAMED = 5
#: Share of amons without which a query is learned all the same.
_SPARED = 0.1


@dataclass(frozen=True)
class Labeller:
    """Look geometries up in a database of amons, and label those that it lacks.

    Parameters
    ----------
    level : LevelOfTheory
        What computes labels; must be that of the database.
    database : str or Path
        A ``.db`` file or the address of a PostgreSQL database; made if it does not exist.
    workers : Workers
        Where labels are computed.
    progress : callable, optional
        Called after every label.

    Notes
    -----
    Several processes may do so at once with amons in common: each is labelled once, and whoever needs it waits for it
    (``test_two_queries_at_once_pay_for_each_amon_once``). Work that others left in the database is not done here.
    """

    level: LevelOfTheory
    database: str | Path
    workers: Workers = field(default_factory=Workers)
    progress: Callable[[Progress], None] | None = None

    @classmethod
    @contextmanager
    def working(cls, settings: StudySettings, labelling: Labelling) -> Iterator[Labeller]:
        """Make what labels, for the time of a ``with`` block; one worker is a thread of this process."""
        own_thread = labelling.executor is None and labelling.n_workers == 1
        with ThreadPoolExecutor(1) if own_thread else nullcontext(labelling.executor) as executor:
            workers = Workers(executor, labelling.n_workers, matrices=False)
            yield cls(settings.level, settings.address, workers, labelling.progress)

    def open(self) -> DatasetFile:
        """Open the database, or make it; ``InputError`` if it has another level of theory."""
        return open_dataset(self.database, self.level)

    def check(self, amons: Sequence[Record]) -> None:
        """Refuse amons that the level is known not to serve before any is labelled.

        Parameters
        ----------
        amons : sequence of Record
            With ``"smiles"`` in ``info``.

        Raises
        ------
        InputError
            If it refuses more than one in ten; the message names them. Fewer are left out when they are labelled.
        """
        refused = {}
        for amon in amons:
            try:
                self.level.check(amon)
            except InputError as error:
                refused[amon.info["smiles"]] = str(error)
        if len(refused) > _SPARED * len({amon.info["smiles"] for amon in amons}):
            named = "; ".join(f"{smiles} ({reason})" for smiles, reason in list(refused.items())[:_N_NAMED])
            raise InputError(
                f"{len(refused)} amons cannot be labelled at {self.level.name}: {named} Nothing was labelled. Take a "
                "level that serves them, such as 'pbe/def2-svp'."
            )

    def find(self, amons: Sequence[Record]) -> tuple[list[Record], int]:
        """Look amons up, and label those that the database lacks.

        Parameters
        ----------
        amons : sequence of Record
            With ``"smiles"`` in ``info``.

        Returns
        -------
        records : list of Record
            With labels, in the order given; where the database has the same conformer, its own. Without those that
            could not be labelled, of which a warning tells.
        n_new : int
            How many rows of the database were not labelled before.

        Raises
        ------
        InputError
            If the database has another level of theory, or as `check`.
        CalculationFailed
            If more than one amon in ten cannot be labelled; the message names them.
        """
        self.check(amons)
        file = self.open()
        rows = file.add_unless(amons, same_conformer)
        n_new = sum(state.status != LABELLED for state in file.states(rows).values())
        if n_new:
            label_rows(file, self.level, rows, workers=self.workers, progress=self.progress)
        unlabelled = set() if not n_new else _unlabelled(file, rows)
        return file.records(row for row in rows if row not in unlabelled), n_new

    def exactly(self, geometries: Sequence[Record]) -> tuple[list[Record], int]:
        """Label geometries as they are, whatever conformer they are like.

        Parameters
        ----------
        geometries : sequence of Record
            Their own labels are ignored.

        Returns
        -------
        records : list of Record
            With labels; without those that could not be labelled.
        n_new : int
            How many rows of the database were not labelled before.
        """
        file = self.open()
        file.add([geometry.unlabelled() for geometry in geometries])
        rows = file.numbers(geometries)
        n_new = sum(state.status != LABELLED for state in file.states(rows).values())
        if n_new:
            label_rows(file, self.level, rows, workers=self.workers, progress=self.progress)
        unlabelled = set() if not n_new else _unlabelled(file, rows)
        return file.records(row for row in rows if row not in unlabelled), n_new

    def amons(self, geometries: Sequence[Record]) -> tuple[tuple[Record, ...], int]:
        """Do as `find`; every conformer once."""
        records, n_new = self.find(geometries)
        return tuple({record.geometry_hash(): record for record in records}.values()), n_new

    def free_atoms(self, numbers: Sequence[int]) -> dict[int, float]:
        """Return energies of free atoms, Hartree, by atomic number.

        They are labelled at the level and kept, or, where that knows no open shells, computed at the level that stands
        for it (``LevelOfTheory.of_free_atoms``) and not kept: the database holds labels of one level.
        """
        atoms, level = [_free_atom(number) for number in numbers], self.level.of_free_atoms
        labels = self.amons(atoms)[0] if level == self.level else [level.label(atom) for atom in atoms]
        return {int(label.numbers[0]): label.energy for label in labels if label.energy is not None}

    def copies(self, origins: Sequence[Record], displaced: Displacements) -> tuple[tuple[Record, ...], int]:
        """Look displaced copies of conformers up; draw and label those that the database lacks.

        Parameters
        ----------
        origins : sequence of Record
            Conformers as `amons` returned them.
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
        counts = [len(some) for some in labelled_copies(self.database, origins, displaced)]
        done = 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            if self.progress is not None:
                self.progress(Progress(0, 0, 0, len(origins), done, stage="drawing copies"))

        drawn = draw_copies(origins, counts, displaced, self.level, workers=self.workers, progress=advance)
        if drawn:
            executor, n_workers = self.workers.executor, self.workers.n_workers
            where: dict[str, Any] = {"executor": executor, "n_workers": n_workers, "matrices": False}
            label_geometries(drawn, self.database, self.level, leftovers=False, progress=self.progress, **where)
        copies = [record for some in labelled_copies(self.database, origins, displaced) for record in some]
        return tuple(copies), len(copies) - sum(counts)


def same_conformer(stored: Record, other: Record) -> bool:
    """Tell whether two geometries of one SMILES are the same conformer.

    Parameters
    ----------
    stored, other : Record
        Of one SMILES.

    Returns
    -------
    bool
        Whether the sorted row sums of 1/r_ij differ by at most 0.01 per Angstrom, and both are conformers or both are
        displaced copies (with ``"origin"`` in ``info``).
    """
    if len(stored) != len(other) or (stored.charge, stored.spin) != (other.charge, other.spin):
        return False
    if ("origin" in stored.info) != ("origin" in other.info):  # displaced copies stand for themselves only
        return False
    return is_same_conformer(geometry_fingerprint(stored.positions), geometry_fingerprint(other.positions))


def _free_atom(number: int) -> Record:
    spin = int(ground_state_magnetic_moments[number])
    info = {"smiles": f"[{chemical_symbols[number]}]", "n_heavy": int(number > 1)}
    return Record(np.array([number]), np.zeros((1, 3)), spin=spin, info=info)


def models_beside(database: str | Path) -> Path:
    """Return the folder of the models that are learned from a database: beside a file, here for a server."""
    if is_server(database):
        return Path("amons-models")
    return Path(database).with_name(f"{Path(database).stem}-models")


def _unlabelled(file: DatasetFile, rows: Sequence[int]) -> set[int]:
    """Return the rows that have no labels: named in a warning where they are few, and else in an error."""
    unlabelled = {row for row, state in file.states(rows).items() if state.status != LABELLED}
    if not unlabelled:
        return unlabelled
    named = [f"{failure.record.info['smiles']} ({failure.reason})" for failure in file.failures(sorted(unlabelled))]
    text = (
        f"{len(unlabelled)} amons could not be labelled at {file.level}: {'; '.join(named[:_N_NAMED])}. The same call "
        "tries again what did not converge and what the machine was to blame for"
    )
    if len(unlabelled) > _SPARED * len(set(rows)):
        raise CalculationFailed(f"{text}; try another level of theory, or a smaller max_heavy.")
    warnings.warn(f"{text}; the model is learned without them.", stacklevel=2)
    return unlabelled
