"""What every place of a dataset offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ase_mlwave.data.claims import Claims

__all__ = ["Store", "disconnect"]


class Store(ABC):
    """A place of one dataset.

    Parameters
    ----------
    name : str
        What it is called in messages; never has a password.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def exists(self) -> bool:
        """Tell whether there is a dataset or something else already."""

    @abstractmethod
    def connect(self) -> Any:
        """Return ASE's database object.

        Raises
        ------
        FileNotFoundError
            If there is nothing.
        """

    @abstractmethod
    def create(self, fill: Callable[[Any], None]) -> None:
        """Make an empty database and fill it, as one step: a process that is killed leaves all or nothing.

        Parameters
        ----------
        fill : callable
            Writes into the ASE database object that it is given.

        Raises
        ------
        FileExistsError
            If there is something already.
        """

    @abstractmethod
    def begin(self, db: Any) -> None:
        """Inside ``with db:`` wait until nobody else writes, and keep others from it up to the end of the block."""

    @abstractmethod
    def claims(self) -> Claims:
        """Return new claims to rows of the dataset."""


def disconnect(db: Any) -> None:
    """Close what ASE leaves open where a transaction cannot end (a full disk, a lost server), to serve again."""
    if db.connection is not None:
        db.connection.close()
        db.connection = None
