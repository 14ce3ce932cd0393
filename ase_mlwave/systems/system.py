"""A molecule or a periodic cell, in atomic units: what a calculation starts from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.symbols import Symbols
from numpy.typing import ArrayLike, NDArray

__all__ = ["System", "add_to_hash", "checked_array"]


@dataclass(frozen=True, eq=False)
class System:
    """Hold one molecule or cell.

    Parameters
    ----------
    numbers : (N,) int64
        Atomic numbers.
    positions : (N, 3) float64
        Nuclear positions, Bohr.
    charge : int
        Total charge, elementary charges.
    spin : int
        Number of unpaired electrons.
    cell : (3, 3) float64, optional
        Cell vectors in rows, Bohr; None for a molecule.
    pbc : (3,) of bool, optional
        Which of them are periods; None for a molecule.

    Raises
    ------
    ValueError
        If a shape does not fit the number of atoms, an atomic number is not an element's, a number is not finite, the
        spin is negative, or periods lack independent cell vectors.

    Notes
    -----
    Arrays are converted to the types above and made read-only; a system never changes (``dataclasses.replace`` makes a
    new one). Only periods count: without any, ``cell`` and ``pbc`` are None, and a vector that is none is zero.
    Two systems compare by identity; ``geometry_hash`` compares what they hold.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    charge: int = field(default=0, kw_only=True)
    spin: int = field(default=0, kw_only=True)
    cell: NDArray[np.float64] | None = field(default=None, kw_only=True)
    pbc: NDArray[np.bool_] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Convert to the documented types and check shapes and values."""
        store = object.__setattr__
        store(self, "numbers", _checked_numbers(self.numbers))
        store(self, "positions", checked_array("positions", self.positions, (len(self.numbers), 3)))
        if self.spin < 0:
            raise ValueError(f"spin is the number of unpaired electrons and cannot be negative (got {self.spin}).")
        store(self, "charge", int(self.charge))
        store(self, "spin", int(self.spin))
        cell, pbc = _checked_cell(self.cell, self.pbc)
        store(self, "cell", cell)
        store(self, "pbc", pbc)

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)

    @property
    def formula(self) -> str:
        """Sum formula in Hill order, for messages."""
        return str(Symbols(self.numbers).get_chemical_formula())

    @property
    def n_electrons(self) -> int:
        """Number of electrons, of a cell those of one cell."""
        return int(self.numbers.sum()) - self.charge

    @property
    def n_periods(self) -> int:
        """Number of periods: 0 of a molecule, 3 of a bulk."""
        return 0 if self.pbc is None else int(self.pbc.sum())

    def geometry_hash(self) -> str:
        """Return the SHA-256 (hex) of elements, positions, charge, spin and cell: what a label is computed from.

        Notes
        -----
        Positions enter bit for bit, so equal hashes mean an equal calculation
        (``test_geometry_hash_sees_elements_positions_charge_spin_and_cell_only``).
        """
        digest = hashlib.sha256()
        add_to_hash(digest, "numbers", self.numbers)
        add_to_hash(digest, "positions", self.positions)
        add_to_hash(digest, "charge and spin", np.array([self.charge, self.spin], dtype=np.int64))
        if self.cell is not None and self.pbc is not None:
            add_to_hash(digest, "cell", self.cell)
            add_to_hash(digest, "pbc", self.pbc.astype(np.int64))
        return digest.hexdigest()


def add_to_hash(digest: Any, name: str, array: NDArray[Any]) -> None:
    """Feed a named array to a hash: name, shape and little-endian bytes (-0.0 counts as 0.0)."""
    digest.update(f"{name} {array.shape}".encode())
    little_endian = np.ascontiguousarray(array + 0).astype(array.dtype.newbyteorder("<"))
    digest.update(little_endian.tobytes())


def checked_array(name: str, given: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a read-only float64 copy, or raise ``ValueError`` for a wrong shape or a value that is not finite."""
    array = np.array(given, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape} (got {array.shape}).")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite (found {np.count_nonzero(~np.isfinite(array))} that are not).")
    array.setflags(write=False)
    return array


def _checked_numbers(given: ArrayLike) -> NDArray[np.int64]:
    """Return atomic numbers as read-only int64, or refuse them."""
    raw = np.asarray(given)
    if raw.ndim != 1 or raw.size == 0:
        raise ValueError(f"numbers must be a list of at least one atomic number (got an array of shape {raw.shape}).")
    numbers = np.array(raw, dtype=np.int64)
    wrong = (numbers != raw) | (numbers < 1) | (numbers >= len(chemical_symbols))
    if wrong.any():
        raise ValueError(f"numbers must be atomic numbers from 1 to {len(chemical_symbols) - 1} (got {raw[wrong][0]}).")
    numbers.setflags(write=False)
    return numbers


def _checked_cell(
    given: ArrayLike | None, pbc: ArrayLike | None
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_] | None]:
    """Return cell vectors, zero where there is no period, and which are periods; None twice without any."""
    periods = np.array(np.broadcast_to(np.asarray(False if pbc is None else pbc, dtype=bool), 3))
    if not periods.any():
        return None, None
    cell = np.zeros((3, 3)) if given is None else np.asarray(given, dtype=np.float64)
    cell = checked_array("cell", np.where(periods[:, None], cell, 0.0) if cell.shape == (3, 3) else cell, (3, 3))
    if np.linalg.matrix_rank(cell[periods]) < periods.sum():
        raise ValueError(
            f"periodic directions {periods.tolist()} need as many independent cell vectors (got {cell.tolist()})."
        )
    periods.setflags(write=False)
    return cell, periods
