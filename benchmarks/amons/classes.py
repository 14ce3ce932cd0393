"""The classes of systems, from ``classes.yaml``, and the learning curves that they are answered with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ase_mlwave.models.amons.config import FitSettings
from benchmarks.common import read_json, write_json


class SystemClass(BaseModel):
    """One class: its row of the table, and its protocol."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # on the command line, and of its files
    title: str  # in the table
    systems: str  # what they are, for the table
    target: float  # mean absolute error that is asked for, kcal/mol per ``per``
    per: Literal["molecule", "monomer", "atom"] = "molecule"  # what errors are divided by
    judged_at: int | None = None
    """Heavy atoms of the largest amons that the target is for; by default those of each curve's last point."""
    notes: str = ""  # what a reader of the table should know, Markdown
    needs: tuple[str, ...] = ()  # options that name files it needs
    build: Literal["published", "molecules", "polymers", "droplets", "sheets", "crystals", "pairs"]
    """How systems are built, a function of ``study.py``."""
    molecules: Mapping[str, str] = Field(default_factory=dict)  # name -> SMILES
    drawn: Mapping[str, Any] = Field(default_factory=dict)
    """Option that names a file -> heavy atoms (``sizes``) and number (``count``) of molecules to draw from it."""
    named_by: Literal["smiles", "file"] = "smiles"  # what drawn molecules are called by
    parameters: Mapping[str, Any] = Field(default_factory=dict)  # system -> what it is built from
    relax: Mapping[str, Any] = Field(default_factory=dict)  # how GFN2-xTB relaxes queries, as `Relaxing` takes it
    amons: Literal["caps", "minima", "as cut"] = "caps"
    """Amons keep the query's coordinates but for their caps, which the reference relaxes; or are minima of the
    reference; or remain as `amon_geometries` returns them."""
    max_heavy: int  # heavy atoms of the largest amons
    max_contact_heavy: int | None = None  # the same of amons that touch, both together
    larger: Mapping[str, int] = Field(default_factory=dict)
    """System -> heavy atoms of its largest amons, where these are others."""
    smaller: bool = False  # whether amons must be smaller than their query
    cut: Mapping[str, Any] = Field(default_factory=dict)  # further options of `amon_geometries`
    shells: Mapping[str, int] | None = None  # options of `shell_geometries`, whose shells are learned beside the amons
    conformers: int | None = None  # most conformers of an amon, of all queries together: those that differ most
    distinct: bool = True  # whether every conformer of an amon counts once
    pool: Literal["own", "before", "all"] = "own"
    """Whether a system is learned from its own amons, from these and those of the systems before, or from all."""
    labels: str | None = None  # level of theory that labels what GFN2-xTB relaxed; by default GFN2-xTB
    sizes: tuple[int, ...] | None = None  # points of the curves; by default all sizes of amons
    fit: FitSettings  # how models are fitted

    def errors(self, curves: Sequence[Curve]) -> list[float]:
        """Return the errors that the target is for, kcal/mol per unit, of the curves that have one."""
        points = [[*zip(curve.sizes, curve.errors_kcal, strict=True)] for curve in curves]
        judged = [[error for size, error in some if size <= (self.judged_at or size)] for some in points]
        return [errors[-1] for errors in judged if errors]


@dataclass(frozen=True)
class Curve:
    """The learning curve of one system; K points."""

    system: str  # its name; unique within a class
    reference_energy: float  # of the whole system (all of its units together), Hartree
    sizes: tuple[int, ...]  # heavy atoms of the largest amons that were learned from, ascending; (K,)
    n_amons: tuple[int, ...]  # geometries that were learned from, (K,)
    errors_kcal: tuple[float, ...]  # predicted minus reference energy, kcal/mol per ``per``; (K,)
    per: str = "molecule"  # ``"molecule"``, ``"monomer"`` or ``"atom"``
    n_atoms: int = 0  # atoms of the system; 0 where that means nothing (an interaction energy)

    def __post_init__(self) -> None:
        if not len(self.sizes) == len(self.n_amons) == len(self.errors_kcal):
            raise ValueError(f"{self.system}: sizes, numbers of amons and errors differ in length.")


def write_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Write curves as JSON; ``path`` is there whole or not at all."""
    write_json(path, [asdict(curve) for curve in curves])


def read_curves(path: Path) -> list[Curve]:
    """Read what `write_curves` wrote."""
    return TypeAdapter(list[Curve]).validate_python(read_json(path))


#: Name on the command line -> class, in the order of the table.
CLASSES: dict[str, SystemClass] = {
    name: SystemClass(name=name, **values)
    for name, values in yaml.safe_load(Path(__file__).with_name("classes.yaml").read_text(encoding="utf-8")).items()
}
