"""What the models learn from: one molecule with its labels, and an ordered collection of them, in atomic units."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_mlwave.data.metadata import differ_in_forces_only, without_response
from ase_mlwave.properties import LABELS
from ase_mlwave.systems.system import System, add_to_hash, checked_array
from ase_mlwave.text import plain

__all__ = ["Dataset", "Record"]

#: Largest deviation from symmetry that a stored matrix may have, relative to its largest element.
_SYMMETRY_TOLERANCE = 1e-8


#: Entries of ``info`` that tell how a label came about, or how good it is.
_NOTES = ("scf_rescue", "out_of_domain")


@dataclass(frozen=True, eq=False)
class Record(System):
    """Hold one molecule and what is known about it.

    Parameters
    ----------
    numbers, positions, charge, spin, cell, pbc
        As of `ase_mlwave.systems.system.System`.
    energy : float or None
        Total energy, Hartree; None where there is no label.
    forces : (N, 3) float64 or None
        Minus the derivative of the energy with respect to ``positions``, Hartree/Bohr.
    matrices : mapping of str to (M, M) float64
        Matrices in PySCF's spherical AO order: ``"hamiltonian"`` (Kohn-Sham or Fock matrix, Hartree), ``"overlap"``
        (dimensionless), ``"core_hamiltonian"`` (Hartree). Unrestricted methods store (2, M, M), spin up first.
    info : mapping of str to anything
        What describes the record without being a label: ``"split"``, ``"smiles"``, ``"temperature"`` (K), ...
    dipole : (3,) float64 or None
        Electric dipole moment, e*Bohr, from minus to plus; of an ion about the origin.

    Raises
    ------
    ValueError
        As `System`; or if the shape of a label does not fit, a number is not finite, or a matrix is not symmetric.

    Notes
    -----
    Arrays are converted to float64 and made read-only; a record never changes (``replace`` makes a new one).
    Two records compare by identity; ``geometry_hash`` and ``content_hash`` compare what they hold.
    """

    energy: float | None = None
    forces: NDArray[np.float64] | None = None
    matrices: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    dipole: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Convert to the documented types and check shapes and values."""
        super().__post_init__()
        store = object.__setattr__
        for name, value in self.labels.items():
            array = checked_array(name, value, LABELS[name].sizes(len(self)))
            store(self, name, array if array.ndim else float(array))
        store(self, "matrices", {name: _checked_matrix(name, matrix) for name, matrix in self.matrices.items()})
        store(self, "info", dict(self.info))

    @property
    def labels(self) -> dict[str, Any]:
        """What is known beside matrices, by the names of `ase_mlwave.properties.LABELS`."""
        values = {name: getattr(self, name) for name in LABELS}
        return {name: value for name, value in values.items() if value is not None}

    def unlabelled(self) -> Record:
        """Return a copy without labels and matrices, and without what ``info`` says of them."""
        nothing: dict[str, Any] = dict.fromkeys(LABELS)
        return replace(self, matrices={}, **nothing).without_info(*_NOTES)

    def with_info(self, **entries: Any) -> Record:
        """Return a copy whose ``info`` has these entries added or replaced."""
        return replace(self, info={**self.info, **entries})

    def without_info(self, *names: str) -> Record:
        """Return a copy whose ``info`` lacks these entries."""
        return replace(self, info={name: value for name, value in self.info.items() if name not in names})

    def content_hash(self) -> str:
        """Return the SHA-256 (hex) of geometry and labels; ``info`` does not count."""
        digest = hashlib.sha256(self.geometry_hash().encode())
        for name, value in self.labels.items():
            add_to_hash(digest, name, np.asarray(value))
        for name in sorted(self.matrices):
            add_to_hash(digest, f"matrix {name}", self.matrices[name])
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Hold records that share one level of theory.

    Parameters
    ----------
    records : tuple of Record
        In the order of the file they came from.
    level : str
        Level of theory such as ``"pbe/def2-svp"``; empty where there are no labels.
    source : str
        Where the data came from (a path or a description), for messages and model cards.
    settings : mapping
        Settings of the level (``LevelOfTheory.settings()``), as a dataset of ours states them; empty if not known.
    notes : tuple of str
        What the reader has to say: labels under unusual names, what it left out.

    Notes
    -----
    ``one + other`` joins data sets of one level.
    """

    records: tuple[Record, ...]
    level: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Accept any iterable of records; refuse a level that is not a plain line of text (``ValueError``)."""
        plain(self.level, "the level of theory")
        object.__setattr__(self, "records", tuple(self.records))

    def __add__(self, other: Dataset) -> Dataset:
        """Join two data sets: the records of this one, then those of the other.

        Raises
        ------
        ValueError
            If they are of different levels of theory, or its settings differ. Levels that differ in the response of the
            grid alone are joined, with a warning, as one without it.
        """
        if not isinstance(other, Dataset):
            return NotImplemented
        if self.is_labelled and other.is_labelled and differ_in_forces_only(self.level, other.level):
            warnings.warn(
                f"only one of {self.source} and {other.source} has forces with the response of the integration grid; "
                "they are joined as data without it. Forces differ by 0.1 to 0.4 meV/Angstrom on average, energies and "
                "matrices do not.",
                stacklevel=2,
            )
            return self._without_response() + other._without_response()
        level = self._common_level(other)
        settings = self.settings if self.settings == other.settings or not other.is_labelled else {}
        settings = other.settings if not self.is_labelled else settings
        source = ", ".join(dict.fromkeys((self.source, other.source)))
        return Dataset((*self.records, *other.records), level, source, settings, (*self.notes, *other.notes))

    @property
    def is_labelled(self) -> bool:
        """Whether any record has a label."""
        return any(r.labels or r.matrices for r in self.records)

    def _without_response(self) -> Dataset:
        level, settings = without_response(self.level, self.settings)
        return replace(self, level=level, settings=settings)

    def _common_level(self, other: Dataset) -> str:
        """Return the level of both; what has no labels goes with any."""
        if not (self.is_labelled and other.is_labelled):
            return (self.level if self.is_labelled else other.level) or self.level
        if self.level != other.level:
            levels = " and ".join(f"{one.source} is at {one.level or 'an unknown level'}" for one in (self, other))
            raise ValueError(f"{levels}; only data of one level of theory can be joined. State a level when reading.")
        if self.settings and other.settings:
            names = sorted({*self.settings, *other.settings})
            here, there = ([one.settings.get(name, "not set") for name in names] for one in (self, other))
            different = [f"{n} ({a!r} and {b!r})" for n, a, b in zip(names, here, there, strict=True) if a != b]
            if different:
                raise ValueError(
                    f"{self.source} and {other.source} are both at {self.level}, but their settings differ: "
                    f"{', '.join(different)}. Label one of them anew."
                )
        return self.level

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the records in order."""
        return iter(self.records)

    def __getitem__(self, index: int) -> Record:
        """Return one record."""
        return self.records[index]

    @property
    def splits(self) -> dict[str, int]:
        """Names of the splits and the number of records in each, in order of first appearance."""
        counts: dict[str, int] = {}
        for record in self.records:
            name = record.info.get("split")
            if name is not None:
                counts[str(name)] = counts.get(str(name), 0) + 1
        return counts

    def split(self, name: str) -> Dataset:
        """Return the records whose ``info["split"]`` is ``name``.

        Parameters
        ----------
        name : str
            One of ``splits``.

        Returns
        -------
        Dataset
            In the order of this one.

        Raises
        ------
        KeyError
            If no record carries that name; the message lists the names there are.
        """
        records = tuple(record for record in self.records if record.info.get("split") == name)
        if not records:
            splits = ", ".join(f"{key!r} ({count})" for key, count in self.splits.items())
            words = f"mlwave merge {self.source} divided.db --split train=0.8,valid=0.1,test=0.1"
            hint = f"it has {splits}" if splits else f"its records carry no split; write {words}"
            raise KeyError(f"{self.source} has no split {name!r}: {hint}.")
        return replace(self, records=records)

    def with_matrices(self, other: Dataset) -> Dataset:
        """Take the matrices of the same geometries in another data set, of any level; the rest keep their own."""
        known = {record.geometry_hash(): record.matrices for record in other if record.matrices}
        found = [known.get(record.geometry_hash()) for record in self]
        pairs = zip(self, found, strict=True)
        return replace(self, records=tuple(r if have is None else replace(r, matrices=have) for r, have in pairs))

    def content_hash(self) -> str:
        """Return the SHA-256 (hex) of the level of theory and of all records in order, without their ``info``."""
        digest = hashlib.sha256(self.level.encode())
        for record in self.records:
            digest.update(record.content_hash().encode())
        return digest.hexdigest()


def _checked_matrix(name: str, given: ArrayLike) -> NDArray[np.float64]:
    """Return a read-only symmetric float64 matrix (or a pair of them, one per spin)."""
    shape = np.shape(given)
    if len(shape) not in {2, 3} or shape[-1] != shape[-2] or (len(shape) == 3 and shape[0] != 2):
        raise ValueError(f"matrix {name!r} must have the shape (M, M), or (2, M, M) for two spins (got {shape}).")
    matrix = checked_array(f"matrix {name!r}", given, shape)
    asymmetry = np.abs(matrix - np.swapaxes(matrix, -1, -2)).max(initial=0.0)
    if asymmetry > _SYMMETRY_TOLERANCE * max(1.0, np.abs(matrix).max(initial=0.0)):
        raise ValueError(f"matrix {name!r} must be symmetric (largest asymmetry {asymmetry:.1e}).")
    return matrix
