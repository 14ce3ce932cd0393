"""The one table of the kinds of model: what each is made of, by name, and imported when it is used.

A kind is one `Kind`: an entry of `KINDS`, or what an entry point of the group ``ase_mlwave.kinds`` of another installed
package names (``docs/new_model.md`` makes one). A model folder says the name of its kind and nothing else: what is
imported is what is installed, whatever the folder holds.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ase.calculators.calculator import InputError

from ase_mlwave.errors import suggestion

__all__ = ["GROUP", "KINDS", "Kind", "all_kinds", "find_kind", "kind_names"]

#: Entry points with which another package brings kinds: ``name = "module:object"``, the object a `Kind` of that name.
GROUP = "ase_mlwave.kinds"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Say what a kind of model is made of; each part is a string, ``"module:name"``, that `load` imports."""

    name: str
    """What model folders, settings of training and ASE's registries call it."""
    network: str
    """Class (or function) that makes an untrained network from its settings."""
    settings: str
    """Class (or function) that makes those settings from keywords: a pydantic model."""
    calculator: str
    """Class derived from `ase_mlwave.calculators.base.MlwaveCalculator` whose ``name`` is the kind's."""
    training: str | None = None
    """Module with ``TrainingSettings`` and ``train`` for ``mlwave train``; None where models come from elsewhere."""
    evaluation: str = "ase_mlwave.evaluation.energies:evaluate"
    """Function that measures a calculator of the kind for ``mlwave evaluate``."""
    after_training: str | None = None
    """Function that measures a new model on the validation molecules, writes what it finds into its folder, and
    returns it in words."""
    citation: str = ""
    """The publication, for ASE's list of calculators."""

    def load(self, part: str) -> Any:
        """Import a part.

        Parameters
        ----------
        part : str
            Name of one of the attributes.

        Returns
        -------
        object
            What it names.

        Raises
        ------
        InputError
            If the kind has no such part, or it cannot be imported.
        """
        home = getattr(self, part)
        if home is None:
            raise InputError(f"models of kind {self.name!r} have no {part}.")
        module, _, name = home.partition(":")
        try:
            imported = import_module(module)
            return getattr(imported, name) if name else imported
        except (ImportError, AttributeError) as error:
            raise InputError(f"the {part} of the kind {self.name!r}, {home}, cannot be imported: {error}") from error


#: Name -> what the kind is made of.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="amons",
            network="ase_mlwave.models.amons.model:AmonModel",
            settings="ase_mlwave.models.amons.config:AmonConfig",
            calculator="ase_mlwave.calculators.amons:AmonsCalculator",
            training="ase_mlwave.models.amons.training.run",
            citation="B. Huang and O. A. von Lilienfeld, Nat. Chem. 12, 945 (2020), doi:10.1038/s41557-020-0527-z",
        ),
        Kind(
            name="phisnet",
            network="ase_mlwave.models.phisnet.model:PhiSNet",
            settings="ase_mlwave.models.phisnet.config:PhiSNetConfig",
            calculator="ase_mlwave.calculators.phisnet:PhiSNetCalculator",
            training="ase_mlwave.models.phisnet.training.run",
            evaluation="ase_mlwave.evaluation.matrices:evaluate_phisnet",
            after_training="ase_mlwave.evaluation.matrices:measure_levels",
            citation="O. T. Unke et al., NeurIPS 34, 14434 (2021), arXiv:2106.02347",
        ),
        Kind(
            name="qdf",
            network="ase_mlwave.models.qdf.fields:build_network",
            settings="ase_mlwave.models.qdf.fields:parse_qdf_settings",
            calculator="ase_mlwave.calculators.qdf:QDFCalculator",
            training="ase_mlwave.models.qdf.training.run",
            citation="M. Tsubaki and T. Mizoguchi, Phys. Rev. Lett. 125, 206401 (2020), "
            "doi:10.1103/PhysRevLett.125.206401",
        ),
    )
}


def kind_names() -> list[str]:
    """Return the names of all kinds, those of other packages among them; nothing of these is imported."""
    return sorted({*KINDS, *(point.name for point in entry_points(group=GROUP))})


def find_kind(name: str, where: str) -> Kind:
    """Find a kind by its name.

    Parameters
    ----------
    name : str
        As a file or a user gives it.
    where : str
        What names it; begins the message.

    Returns
    -------
    Kind
        Of `KINDS`, which goes first, or of another package.

    Raises
    ------
    InputError
        If there is none, two packages bring one, or the package that brings it fails.
    """
    if name in KINDS:
        return KINDS[name]
    try:
        return _brought(name, tuple(sys.path))
    except LookupError:
        raise InputError(f"{where} has the unknown kind {name!r}. {suggestion(name, kind_names())}") from None


@lru_cache(maxsize=64)
def _brought(name: str, path: tuple[str, ...]) -> Kind:
    """Find a kind of another package on Python's path, once: all that are installed are looked through."""
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        raise LookupError(name)
    if len({point.value for point in points}) > 1:
        packages = " and ".join(sorted(map(_package, points)))
        raise InputError(f"the kind {name!r} is brought by {packages}. Uninstall all but one.")
    return _loaded(points[0])


def all_kinds() -> list[Kind]:
    """Return all kinds that can be had; where another package fails to bring one, a warning says so."""
    kinds = []
    for name in kind_names():
        try:
            kinds.append(find_kind(name, "the list of kinds"))
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
    return kinds


def _loaded(point: EntryPoint) -> Kind:
    """Import the kind that another package brings."""
    origin = f"the kind {point.name!r}, which the package {_package(point)} brings,"
    try:
        kind = point.load()
    except Exception as error:  # whatever a package does while it is imported
        raise InputError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(kind, Kind) or kind.name != point.name:
        raise InputError(f"{origin} is no Kind of that name: {point.value} is {kind!r}.")
    return kind


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
