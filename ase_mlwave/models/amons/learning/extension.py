"""How a model learns what it lacks: amons are added to its study."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ase.calculators.calculator import InputError
from ase.data import atomic_numbers

from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.metadata import differ_in_forces_only
from ase_mlwave.data.record import Record
from ase_mlwave.data.stores import dataset_exists, store_at
from ase_mlwave.models.amons.config import AmonConfig
from ase_mlwave.models.amons.fragments.fragment import Fragment
from ase_mlwave.models.amons.fragments.geometry import Relax
from ase_mlwave.models.amons.fragments.missing import FragmentFinder
from ase_mlwave.models.amons.learning.labels import Labeller
from ase_mlwave.models.amons.learning.settings import Labelling, StudySettings
from ase_mlwave.models.amons.learning.study import AmonStudy, elements_of, is_determined, usual_preparations
from ase_mlwave.reference.differences import differences

__all__ = ["extend_study", "remembered_study"]


def extend_study(
    study: AmonStudy,
    finder: FragmentFinder,
    worst: Sequence[int],
    labeller: Labeller,
    base: Labeller | None = None,
    *,
    n: int = 1,
) -> tuple[AmonStudy, tuple[Record, ...]]:
    """Add the amons that would help a structure, with displaced copies where the study has them.

    Parameters
    ----------
    study : AmonStudy
        What is known; not changed.
    finder : FragmentFinder
        Of the structure.
    worst : sequence of int
        Its badly covered atoms, the worst first.
    labeller : Labeller
        What labels them.
    base : Labeller, optional
        Of the base level that models of the study correct.
    n : int
        Number of amons to add at most.

    Returns
    -------
    study : AmonStudy
        With the new amons; its ``n_new`` counts what had to be labelled.
    added : tuple of Record
        Labelled; empty where the study has all already.

    Raises
    ------
    InputError
        If the database is one of another level.
    CalculationFailed
        If labels fail.
    """
    known = {str(record.info["smiles"]) for record in study.records}
    elements = {number for record in study.records for number in record.numbers.tolist()}
    largest = max(int(record.info["n_heavy"]) for record in study.records)
    fragments = _fragments(finder, worst, known, largest, n)
    own: tuple[Relax, ...] = () if finder.is_periodic else ("caps",)  # as they are in the structure
    labelled: tuple[Record, ...] = ()
    n_new = 0
    for place, relax in enumerate(dict.fromkeys((*study.preparations, *own))):
        cut = [finder.geometry(one, relax) for one in fragments]
        amons, n_labelled = labeller.amons([record for record in cut if set(record.numbers.tolist()) <= elements])
        labelled, n_new = labelled + amons, n_new + n_labelled
        origins = [record for record in amons if record.info["smiles"] not in known]
        if study.displaced is not None and origins and not place:
            copies = labeller.copies(origins, study.displaced)
            labelled, n_new = labelled + copies[0], n_new + copies[1]
    hashes = {record.geometry_hash() for record in study.records}
    added = tuple({r.geometry_hash(): r for r in labelled if r.geometry_hash() not in hashes}.values())
    learned = added if base is None else differences(added, base.exactly(added)[0])
    records = sorted((*study.records, *learned), key=lambda record: int(record.info["n_heavy"]))
    return replace(study, records=tuple(records), n_new=n_new), added


def remembered_study(config: AmonConfig, settings: StudySettings) -> AmonStudy:
    """Put together the study of a model that was loaded from its folder.

    Parameters
    ----------
    config : AmonConfig
        Of the model.
    settings : StudySettings
        Where its amons are labelled.

    Returns
    -------
    AmonStudy
        All geometries of the database whose SMILES are those of the model's training molecules.

    Raises
    ------
    InputError
        If the level is not the model's, there is no such database, or it lacks amons of the model.
    """
    level, database = settings.level.name, settings.address
    if level != config.level and not differ_in_forces_only(level, config.level):
        raise InputError(f"the model was learned at {config.level!r}; reference={level!r} is another level.")
    if not dataset_exists(database):
        raise InputError(f"there is no database {store_at(database).name!r}; give that with the model's amons.")
    file = DatasetFile(database)
    stored = file.read()
    records = [record for record in stored if record.info.get("smiles") in set(config.amons)]
    missing = sorted(set(config.amons) - {str(record.info["smiles"]) for record in records})
    if missing:
        raise InputError(
            f"{file.path} lacks {len(missing)} of the model's amons: {', '.join(missing[:5])}. Give the database "
            "that it was learned from."
        )
    records.sort(key=lambda record: int(record.info["n_heavy"]))
    symbols = {f"[{symbol}]": atomic_numbers[symbol] for symbol in config.elements}
    free = {symbols[r.info["smiles"]]: r.energy for r in stored if len(r) == 1 and r.info.get("smiles") in symbols}
    energies: Mapping[int, Any] = {number: energy for number, energy in free.items() if energy is not None}
    lacking = set(symbols.values()) - energies.keys()
    if lacking and settings.level.of_free_atoms != settings.level and not is_determined(records, elements_of(records)):
        energies = Labeller(settings.level, database).free_atoms(sorted(symbols.values()))  # never in the database
    if settings.of_base is not None:
        records, energies = _less_base(records, energies, settings.of_base)
    preparations = usual_preparations(has_copies=config.fit.directions != 0)
    known: dict[str, Any] = {"preparations": preparations, "base": config.base}
    return AmonStudy(tuple(records), config.level, dict(energies), config.fit, None, 0, **known)


def _less_base(
    records: Sequence[Record], free_atoms: Mapping[int, float], base: StudySettings
) -> tuple[list[Record], dict[int, float]]:
    """Take a base level off amons and free atoms; what it has not labelled yet is labelled."""
    with Labeller.working(base, Labelling()) as labeller:
        of_atoms = labeller.free_atoms(sorted(free_atoms)) if free_atoms else {}
        learned = differences(records, labeller.exactly(records)[0])
    return list(learned), {number: energy - of_atoms[number] for number, energy in free_atoms.items()}


def _fragments(
    finder: FragmentFinder, worst: Sequence[int], known: Collection[str], largest: int, n: int
) -> list[Fragment]:
    """Choose amons: those that are missing; where there are none, the largest one that the worst atom has."""
    fragments: list[Fragment] = []
    while len(fragments) < n:
        fragment = finder.missing(worst, {*known, *(one.smiles for one in fragments)})
        if fragment is None:
            break
        fragments.append(fragment)
    as_it_is = None if fragments else finder.largest_around(worst, largest)
    return fragments if as_it_is is None else [as_it_is]
