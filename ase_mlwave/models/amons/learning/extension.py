"""What a model lacks for a structure, and how it learns that: the amon around its least known atoms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.metadata import differ_in_forces_only
from ase_mlwave.data.record import Record
from ase_mlwave.data.stores import as_address, dataset_exists, store_at
from ase_mlwave.models.amons.config import AmonConfig
from ase_mlwave.models.amons.fragments.fragment import Fragment
from ase_mlwave.models.amons.fragments.missing import FragmentFinder
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.models.amons.learning.study import AmonStudy, Way, label_amons, label_copies
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.units import BOHR

__all__ = ["Graphs", "LabelSource", "advise", "extend_study", "remembered_study", "structure_key"]

#: Distances in sums of covalent radii: bonds that are known from before are broken past the first, and atoms that were
#: not bonded are so below the second.
_BROKEN, _BONDED = 1.5, 1.15


@dataclass(frozen=True)
class LabelSource:
    """Say where the labels of amons come from, and where they and the model are kept.

    Parameters
    ----------
    level : LevelOfTheory
        What computes them.
    database : str or Path
        What keeps them.
    folder : Path or None
        Where the model is saved; None for folders beside the database.
    """

    level: LevelOfTheory
    database: str | Path
    folder: Path | None = None

    @classmethod
    def of(
        cls,
        reference: str | LevelOfTheory | None,
        database: str | PathLike[str] | None,
        folder: str | PathLike[str] | None,
        *,
        instead: LabelSource | None = None,
    ) -> LabelSource:
        """Read what the user gave, or raise ``InputError`` where neither it nor another source says enough."""
        level = instead.level if reference is None and instead else reference
        place = instead.database if database is None and instead else database
        kept = instead.folder if folder is None and instead else folder
        if level is None or place is None:
            raise InputError(
                "it is not known where this model's labels come from: it was loaded from a folder. Give reference= "
                "(the level of theory, such as 'pbe/def2-svp') and database= (the file with its labelled amons)."
            )
        parsed = LevelOfTheory.parse(level) if isinstance(level, str) else level
        return cls(parsed, as_address(place), None if kept is None else Path(kept))


def structure_key(system: Record) -> tuple[Any, ...]:
    """Return what decides which fragments a structure has: its atoms, and which of them are near each other."""
    cell = system.info.get("cell")
    if cell is not None:
        return system.numbers.tobytes(), np.asarray(cell).tobytes(), np.asarray(system.info["pbc"]).tobytes()
    radii = covalent_radii[system.numbers] / BOHR
    reach = (radii[:, None] + radii)[np.triu_indices(len(system), 1)]
    near = np.packbits(pdist(system.positions) < 1.3 * reach) if len(system) > 1 else np.zeros(0, dtype=np.uint8)
    return system.numbers.tobytes(), near.tobytes(), system.charge


class Graphs:
    """Remember the bonds of structures, so that those of molecules in motion need not be guessed at every step."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], Molecule] = {}

    def finder(self, system: Record, like: Molecule | None = None) -> FragmentFinder:
        """Make what finds fragments of a structure.

        Parameters
        ----------
        system : Record
            The structure; of cells ``info`` has ``"cell"`` and ``"pbc"``.
        like : Molecule, optional
            The query; a structure of the same atoms in the same order has its bonds, as long as they hold.

        Returns
        -------
        FragmentFinder

        Raises
        ------
        InputError
            If the bonds are not certain.
        """
        cell = system.info.get("cell")
        if cell is not None:
            atoms = atoms_from_record(replace(system, info={}))
            atoms.cell, atoms.pbc = np.asarray(cell) * BOHR, system.info["pbc"]
            return FragmentFinder(atoms)
        key = system.numbers.tobytes(), system.charge
        if key not in self._known and like is not None and _same_atoms(like, system):
            self._known[key] = like
        if key not in self._known or not _holds(self._known[key], system.positions):
            self._known[key] = molecule_from(system)
        return FragmentFinder(replace(self._known[key], positions=system.positions))


def _same_atoms(molecule: Molecule, system: Record) -> bool:
    return molecule.numbers == tuple(system.numbers.tolist()) and sum(molecule.charges) == system.charge


def _holds(molecule: Molecule, positions: NDArray[np.float64]) -> bool:
    """Tell whether no bond of a graph is broken, and none was made."""
    radii = covalent_radii[list(molecule.numbers)] / BOHR
    stretch = squareform(pdist(positions)) / (radii[:, None] + radii)
    np.fill_diagonal(stretch, np.inf)
    bonded = np.zeros_like(stretch, dtype=bool)
    for i, j in molecule.orders:
        bonded[i, j] = bonded[j, i] = True
    return bool((stretch[bonded] < _BROKEN).all() and (stretch[~bonded] > _BONDED).all())


def advise(
    finder: Callable[[], FragmentFinder],
    numbers: Sequence[int],
    worst: Sequence[int],
    known: Collection[str],
    largest: int | None = None,
) -> tuple[str | None, str]:
    """Find the amon that would help, and say so.

    Parameters
    ----------
    finder : callable
        Makes what finds fragments of the structure.
    numbers : sequence of int
        Its atomic numbers.
    worst : sequence of int
        Badly covered atoms, the worst first.
    known : collection of str
        SMILES of the training amons.
    largest : int, optional
        ``max_heavy`` of a model that was made for one query; past it more is missing than one amon.

    Returns
    -------
    smiles : str or None
        None where all amons around those atoms are known, or none can be named.
    text : str
        For a warning, with a space before it.
    """
    named = ", ".join(f"{atom} ({chemical_symbols[numbers[atom]]})" for atom in sorted(worst))
    text = f" Least known are the surroundings of the atoms {named}."
    try:
        fragment = finder().missing(worst, known)
    except (RuntimeError, ValueError) as error:  # the structure may be anything, and its energy is known already
        return None, f"{text} No amon can be named for them: {error}"
    if fragment is None:
        return None, f"{text} Their amons are known, but in other geometries; calc.extend() learns these, too."
    size = len(fragment.atoms)
    if "." not in fragment.smiles and largest is not None and size > largest:
        return fragment.smiles, (
            f"{text} Their amons of up to {largest} heavy atoms are known; larger ones would help, such as "
            f"{fragment.smiles}: make the calculator anew with max_heavy={size}; calc.extend() learns that amon alone."
        )
    return fragment.smiles, f"{text} The amon {fragment.smiles} would help; calc.extend() labels and learns it."


def extend_study(
    study: AmonStudy,
    finder: FragmentFinder,
    worst: Sequence[int],
    source: LabelSource,
    *,
    n: int = 1,
    executor: Executor | None = None,
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
    source : LabelSource
        Where labels come from and go to.
    n : int
        Number of amons to add at most.
    executor : concurrent.futures.Executor, optional
        Where to label; by default a thread of this process.

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
    with ExitStack() as stack:
        threads = executor or stack.enter_context(ThreadPoolExecutor(1))
        labelled: tuple[Record, ...] = ()
        n_new = 0
        for place, way in enumerate(_ways(study, finder)):
            cut = [finder.geometry(one, way) for one in fragments]
            wanted = [record for record in cut if set(record.numbers.tolist()) <= elements]
            found, n_found = label_amons(wanted, source.database, source.level, executor=threads)
            labelled, n_new = labelled + found, n_new + n_found
            origins = [record for record in found if record.info["smiles"] not in known]
            if study.displaced is not None and origins and not place:
                copies = label_copies(origins, source.database, source.level, study.displaced, executor=threads)
                labelled, n_new = labelled + copies[0], n_new + copies[1]
    there = {record.geometry_hash() for record in study.records}
    added = tuple({r.geometry_hash(): r for r in labelled if r.geometry_hash() not in there}.values())
    records = sorted((*study.records, *added), key=lambda record: int(record.info["n_heavy"]))
    return replace(study, records=tuple(records), n_new=n_new), added


def remembered_study(config: AmonConfig, source: LabelSource) -> AmonStudy:
    """Put together the study of a model that was loaded from its folder.

    Parameters
    ----------
    config : AmonConfig
        Of the model.
    source : LabelSource
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
    if source.level.name != config.level and not differ_in_forces_only(source.level.name, config.level):
        raise InputError(
            f"the model was learned at {config.level!r}; reference={source.level.name!r} is another level."
        )
    if not dataset_exists(source.database):
        raise InputError(f"there is no database {store_at(source.database).name!r}; give that with the model's amons.")
    file = DatasetFile(source.database)
    known = file.read()
    records = [record for record in known if record.info.get("smiles") in set(config.amons)]
    missing = sorted(set(config.amons) - {str(record.info["smiles"]) for record in records})
    if missing:
        raise InputError(
            f"{file.path} lacks {len(missing)} of the model's amons: {', '.join(missing[:5])}. Give the database "
            "that it was learned from."
        )
    records.sort(key=lambda record: int(record.info["n_heavy"]))
    symbols = {f"[{symbol}]": atomic_numbers[symbol] for symbol in config.elements}
    free = {symbols[r.info["smiles"]]: r.energy for r in known if len(r) == 1 and r.info.get("smiles") in symbols}
    energies: Mapping[int, Any] = {number: energy for number, energy in free.items() if energy is not None}
    ways: tuple[Way, ...] = ("caps",) if config.fit.directions == 0 else (None, "caps")
    return AmonStudy(tuple(records), config.level, dict(energies), config.fit, None, 0, ways=ways)


def _fragments(
    finder: FragmentFinder, worst: Sequence[int], known: Collection[str], largest: int, n: int
) -> list[Fragment]:
    """Choose amons: those that are missing; where there are none, the largest one that the worst atom has."""
    found: list[Fragment] = []
    while len(found) < n:
        fragment = finder.missing(worst, {*known, *(one.smiles for one in found)})
        if fragment is None:
            break
        found.append(fragment)
    as_it_is = None if found else finder.largest_around(worst, largest)
    return found if as_it_is is None else [as_it_is]


def _ways(study: AmonStudy, finder: FragmentFinder) -> list[Way]:
    """Return how new amons are prepared: as the study's own are, and as they are in the structure."""
    own: tuple[Way, ...] = () if finder.is_periodic else ("caps",)
    return list(dict.fromkeys((*study.ways, *own)))
