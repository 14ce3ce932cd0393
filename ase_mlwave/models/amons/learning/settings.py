"""How a query is learned: settings classes whose attribute docstrings are the documentation.

`AmonsCalculator.for_query`, ``mlwave amons fit`` and `study_query` share them. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ase.calculators.calculator import InputError
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.text import PlainText

if TYPE_CHECKING:
    from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["Displacements", "Labelling", "StudySettings"]

#: Labels of a level that no string names.
_DATABASE = "amons.db"

_CONFIG = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, use_attribute_docstrings=True)


class Displacements(BaseModel):
    """Say at which displaced geometries of amons forces are learned."""

    model_config = _CONFIG

    number: int = Field(32, ge=1)
    """Copies of every conformer. Errors of forces fall with it, about as its square root."""
    temperature: float = Field(400.0, gt=0)
    """K; somewhat above that of the dynamics to come."""
    sampler: str | None = None
    """Level of theory of the dynamics that copies are taken from; it moves atoms, labels are those of the reference. By
    default the reference where that is an ASE calculator, and else GFN2-xTB where tblite is installed."""


class StudySettings(BaseModel):
    """Say what is learned of a query, from which labels, and where the model is kept."""

    model_config = _CONFIG

    reference: Annotated[Any, "str or LevelOfTheory"] = "pbe/def2-svp"
    """Level of theory: functional/basis or ccsd(t)/basis for PySCF, gfn2-xtb or gfn1-xtb, or a model, such as
    phisnet-chno, which labels with its response energy (after it energy=functional for another one). One database
    holds one level."""
    max_heavy: int | None = None
    """Heavy atoms of the largest covalent amons: by default 7, which hold a benzene ring and what is bonded to it, or
    up to 10 where aromatic rings are fused."""
    max_contact_heavy: int | None = None
    """Heavy atoms of the largest amons that touch without a bond, pairs and clusters: by default 6 for several
    molecules and for cells, and 4 within one molecule. With 0 there are none of these, and a warning tells of contacts
    that are left out."""
    database: Annotated[Any, "str or path"] = None
    """ASE database of labelled amons: a .db file, or postgresql://user@host/database; made if it does not exist. By
    default one in your data folder, which all your queries at the level share, and amons.db for a level that is no
    string."""
    folder: Annotated[Any, "str or path"] = None
    """Where the model is saved; by default a folder beside the database, and in amons-models here for a shared one."""
    settings: FitSettings | None = None
    """How the model is fitted; by default `FitSettings.for_forces`, and without displaced copies
    `FitSettings.for_energies`."""
    displaced: Displacements | int = 32
    """Displaced copies of every amon, at which forces are learned; 0 for energies alone, with a thirtieth of the
    labels."""
    coarse: Annotated[Any, "str or LevelOfTheory"] = None
    """A cheap level of theory, such as gfn2-xtb, for the displaced copies: the reference labels one of each amon alone,
    and a model of the difference corrects the others. A thirtieth of the labels, for somewhat larger errors."""
    base: PlainText | None = None
    """A cheap level of theory, such as gfn2-xtb, that the model corrects: it learns reference minus base, and the
    calculator adds the base's energy and forces. The difference is small and smooth, so that displaced=2 is better than
    32 copies without a base; a step takes as long as one of the base's. For molecules; in place of ``coarse``."""
    keep_geometry: bool | None = None
    """Amons keep the query's coordinates, but for the hydrogens that cap cut bonds: energies are far better then, but
    such amons serve no other query. Or they are relaxed with MMFF94, and shared. By default molecules have the former
    where no displaced copies are made, and else both, with copies of the relaxed ones."""

    @field_validator("displaced")
    @classmethod
    def _some_or_none(cls, displaced: Displacements | int) -> Displacements | int:
        if isinstance(displaced, int) and displaced < 0:
            raise ValueError("give a number of copies, 0 for none")
        return displaced

    @model_validator(mode="after")
    def _one_cheap_level(self) -> StudySettings:
        if self.base is not None and self.coarse is not None:
            raise ValueError("give base or coarse, not both: with a base few copies suffice, such as displaced=2")
        return self

    @property
    def level(self) -> LevelOfTheory:
        """The level of theory of ``reference``; ``InputError`` if there is no such level."""
        from ase_mlwave.reference.levels import LevelOfTheory

        return self.reference if isinstance(self.reference, LevelOfTheory) else LevelOfTheory.parse(self.reference)

    @property
    def is_shared(self) -> bool:
        """Whether labels are those that all queries of the user share: only a string names a level for good."""
        return self.database is None and isinstance(self.reference, str)

    @property
    def address(self) -> str | Path:
        """Where labels are kept: the path of a file, or the address of a server."""
        from ase_mlwave.data.stores import as_address

        if self.is_shared:
            from ase_mlwave.models.amons.learning.shared import shared_database

            return shared_database(self.level)
        return as_address(_DATABASE if self.database is None else self.database)

    @property
    def of_coarse(self) -> StudySettings | None:
        """The same at the coarse level: labels beside those of the reference, shared where these are."""
        return None if self.coarse is None else self._at(self.coarse)

    @property
    def of_base(self) -> StudySettings | None:
        """The same at the base level, as `of_coarse`.

        Raises
        ------
        InputError
            If there is no such level, or it is the reference.
        """
        if self.base is None:
            return None
        from ase_mlwave.reference.differences import base_level

        base = base_level(self.base)
        if base == self.level:
            raise InputError(f"the base level {self.base!r} is the reference; nothing is left to correct. Drop it.")
        return self._at(base.name)

    def _at(self, level: str | LevelOfTheory) -> StudySettings:
        """Return the same at another level, whose labels are beside those of the reference."""
        from ase_mlwave.data.stores import is_server
        from ase_mlwave.models.amons.learning.shared import level_slug

        other = {"reference": level, "database": None, "coarse": None, "base": None}
        settings = self.model_copy(update=other)
        if self.database is None or is_server(str(self.database)):
            return settings
        path = Path(self.database)
        return settings.model_copy(update={"database": path.with_name(f"{path.stem}-{level_slug(settings.level)}.db")})

    @property
    def beside(self) -> str | Path:
        """Where models are saved by default: beside this."""
        return _DATABASE if self.is_shared else self.address

    @property
    def copies(self) -> Displacements | None:
        """Displaced copies to make: a number means the default dynamics, and no copies serve energies alone."""
        if self.displaced == 0 or (self.settings is not None and self.settings.directions == 0):
            return None
        return Displacements(number=self.displaced) if isinstance(self.displaced, int) else self.displaced

    @property
    def fit(self) -> FitSettings:
        """How the model is fitted."""
        if self.settings is not None or self.copies is None:
            return self.settings or FitSettings.for_energies()
        return FitSettings.for_forces() if self.base is None else FitSettings.for_corrections()


class Labelling(BaseModel):
    """Say where labels are computed, and who is told."""

    model_config = _CONFIG

    executor: Executor | None = None
    """Where labels are computed (threads, a Dask client's executor, ...); by default ``n_workers`` fresh processes, or
    a thread of this process for one worker, so that a script needs no ``if __name__ == "__main__":``."""
    n_workers: int = 1
    """Number of processes; with an ``executor`` the number of molecules in work at a time."""
    progress: Callable[..., None] | None = None
    """Called after every label; by default a progress bar where a person watches."""
    announce: Callable[[str], None] | None = None
    """Called, before labels are computed, with a line that says how many there are and about how long they take; by
    default it goes to stderr."""

    @contextmanager
    def watched(self, level: str) -> Iterator[Labelling]:
        """Show a progress bar, and lines on stderr, for the time of a ``with`` block where nobody else is told."""
        from ase_mlwave.console import Console
        from ase_mlwave.reference.bar import LabellingBar

        console = Console(stderr=True, soft_wrap=True, highlight=False)
        with nullcontext(self.progress) if self.progress else LabellingBar(console, level) as progress:
            say = progress.say if isinstance(progress, LabellingBar) else console.print
            yield self.model_copy(update={"progress": progress, "announce": self.announce or say})
