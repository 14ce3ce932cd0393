"""From a query to its labelled amons: find them, and label those that the database lacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Record
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.fragments.coverage import refuse_gaps
from ase_mlwave.models.amons.fragments.geometry import Relax, geometries_of
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import read_query
from ase_mlwave.models.amons.fragments.selection import all_fragments
from ase_mlwave.models.amons.learning.forecast import announce_labels
from ase_mlwave.models.amons.learning.labels import Labeller
from ase_mlwave.models.amons.learning.settings import Displacements, Labelling, StudySettings
from ase_mlwave.models.amons.learning.sizes import contact_size, usual_max_heavy
from ase_mlwave.models.amons.learning.study import AmonStudy, elements_of, is_determined, usual_preparations
from ase_mlwave.models.amons.learning.two_levels import two_level_copies
from ase_mlwave.reference.differences import differences
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["study_queries", "study_query"]

#: Amons that a warning names.
_N_NAMED = 5


def study_query(query: Any, settings: StudySettings, labelling: Labelling | None = None) -> AmonStudy:
    """Find the amons of a query and label those that the database lacks.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms or Record
        As for `ase_mlwave.models.amons.amons_of`.
    settings : StudySettings
        Which amons, and where labels come from.
    labelling : Labelling, optional
        Where labels are computed, and who is told; by default in a thread of this process, and nobody.

    Returns
    -------
    AmonStudy

    Raises
    ------
    InputError
        If the query cannot be read, the level is unknown or not that of the database, or it is known not to serve more
        than one amon in ten: no label is computed then.
    CalculationFailed
        If more than one amon in ten could not be labelled; the message names them.

    Notes
    -----
    An amon is known if the database has the same SMILES in the same conformer (sorted row sums of 1/r_ij within 0.01
    per Angstrom): a second query pays for the others only (``test_second_query_pays_for_new_amons_only``).
    """
    labelling = labelling or Labelling()
    base = settings.of_base  # refused before any work, where it cannot be had
    with Labeller.working(settings, labelling) as labeller:
        read = read_query(query)
        if base is not None and isinstance(read, Atoms):
            raise InputError(f"a base level ({settings.base!r}) is for molecules; leave it out for a cell.")
        geometry, displaced = _geometry_of(read), settings.copies
        preparations = _preparations(settings, is_cell=isinstance(read, Atoms), is_graph=geometry is None)
        shared, own = _amons_of(read, settings, preparations)
        labeller.check([*shared, *own])
        if settings.is_shared and labelling.announce is not None:
            labelling.announce(
                f"labels are kept in {labeller.database}, which all your queries at {labeller.level.name} share; "
                "give a database (amons.db) to keep them elsewhere"
            )
        cheap = settings.of_coarse
        if cheap is not None and displaced is not None:
            with Labeller.working(cheap, labelling) as coarse:
                records, n_new = two_level_copies(
                    shared, own, coarse, labeller, displaced, settings.fit, labelling.announce
                )
        else:
            records, n_new = _label_all(shared, own, labeller, displaced, labelling.announce)
    if base is not None:
        with Labeller.working(base, labelling) as labeller_of_base:
            records = differences(records, labeller_of_base.exactly(records)[0])
    free_atoms = _free_atoms(records, settings, labelling)
    _tell_of_doubts(records, labeller.level.name)
    return AmonStudy(
        records=tuple(sorted(records, key=lambda record: int(record.info["n_heavy"]))),
        level=labeller.level.name,
        base=None if base is None else base.level.name,
        free_atoms=free_atoms,
        settings=settings.fit,
        query=geometry,
        n_new=n_new,
        displaced=displaced,
        molecule=None if isinstance(read, Atoms) else read,
        preparations=preparations,
    )


def study_queries(queries: Sequence[Any], settings: StudySettings, labelling: Labelling | None = None) -> AmonStudy:
    """Do as `study_query` for several queries that one model shall serve: amons that they share are labelled once.

    Parameters
    ----------
    queries : sequence
        Each as for `study_query`; one is that query's own study.
    settings, labelling
        As for `study_query`.

    Returns
    -------
    AmonStudy

    Raises
    ------
    InputError, CalculationFailed
        As `study_query`; also if there is no query.
    """
    if not queries:
        raise InputError("there is no query. Give at least one molecule.")
    parts = list(map(partial(study_query, settings=settings, labelling=labelling), queries))
    if len(parts) == 1:
        return parts[0]
    records = [record for part in parts for record in part.records]
    return AmonStudy.pooled(parts, _free_atoms(records, settings, labelling or Labelling()))


def _free_atoms(records: Sequence[Record], settings: StudySettings, labelling: Labelling) -> dict[int, float]:
    """Return energies of free atoms, less those of the base level, where the compositions of amons need them."""
    elements = elements_of(records)
    if is_determined(records, elements):
        return {}
    with Labeller.working(settings, labelling) as labeller:
        energies = labeller.free_atoms(elements)
    if settings.of_base is None:
        return energies
    with Labeller.working(settings.of_base, labelling) as labeller:
        of_base = labeller.free_atoms(elements)
    return {number: energy - of_base[number] for number, energy in energies.items()}


def _label_all(
    shared: Sequence[Record],
    own: Sequence[Record],
    labeller: Labeller,
    displaced: Displacements | None,
    announce: Callable[[str], None] | None,
) -> tuple[tuple[Record, ...], int]:
    """Label amons and the copies of those that other queries share, and count what is new."""
    n_timed = 0 if announce is None else announce_labels([*shared, *own], shared, labeller, displaced, announce)
    records, n_new = labeller.amons([*shared, *own])
    if displaced is not None:
        copies, n_copies = labeller.copies(labeller.amons(shared)[0], displaced)
        records, n_new = records + copies, n_new + n_copies
    return records, n_new + n_timed


def _tell_of_doubts(records: Sequence[Record], level: str) -> None:
    """Warn once of all labels that a model gave for what is unlike its own training data."""
    doubtful = [record for record in records if record.info.get("out_of_domain") == "doubtful"]
    if doubtful:
        names = ", ".join(sorted({str(record.info["smiles"]) for record in doubtful}, key=len)[:_N_NAMED])
        warnings.warn(
            f"{len(doubtful)} of {len(records)} geometries of amons ({names}) are unlike those that {level!r} was "
            "trained on, and their labels may be wrong.",
            OutOfDomainWarning,
            stacklevel=5,
        )


def _geometry_of(query: Molecule | Atoms) -> System | None:
    """Return the geometry of a query, without its charge; None of a graph without coordinates."""
    if isinstance(query, Molecule):
        return None if query.positions is None else System(np.array(query.numbers), np.array(query.positions))
    return System(query.numbers, query.positions / BOHR, cell=query.cell.array / BOHR, pbc=query.pbc)


def _amons_of(
    query: Molecule | Atoms, settings: StudySettings, preparations: tuple[Relax, ...]
) -> tuple[list[Record], list[Record]]:
    """Return the amons as they are prepared first, of which copies are made, and as they are prepared else."""
    largest = usual_max_heavy(query) if settings.max_heavy is None else settings.max_heavy
    contact = contact_size(query, settings.max_contact_heavy)
    unrolled, fragments = all_fragments(query, largest, contact, allow_charges=True, whole_rings=True)
    refuse_gaps(unrolled, fragments, largest)
    shared, *others = (
        [_shared(record) for record in geometries_of(unrolled, fragments, relax)] for relax in preparations
    )
    return shared, [record for records in others for record in records]


def _preparations(settings: StudySettings, *, is_cell: bool, is_graph: bool) -> tuple[Relax, ...]:
    """Say how the geometries of amons are prepared; copies are drawn of those of the first."""
    if is_cell or settings.keep_geometry is not None:
        return ("caps",) if settings.keep_geometry else (None,)
    usual = usual_preparations(has_copies=settings.copies is not None)
    return usual[:1] if is_graph else usual


def _shared(record: Record) -> Record:
    """Drop what is of this query only."""
    return replace(record, info={key: record.info[key] for key in ("smiles", "n_heavy")})
