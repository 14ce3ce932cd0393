"""What a class of systems is asked for, and what it answers: learning curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ase import units as ase_units

from ase_mlwave.units import HARTREE

__all__ = ["KCAL_PER_MOL", "Curve", "Options", "read_curves", "write_curves"]

#: One Hartree in kcal/mol.
KCAL_PER_MOL: float = HARTREE * ase_units.mol / ase_units.kcal


@dataclass(frozen=True)
class Curve:
    """Hold the learning curve of one system.

    Parameters
    ----------
    system : str
        Its name; unique within a class.
    reference_energy : float
        Of the whole system (all of its units together), Hartree.
    sizes : tuple of int, (K,)
        Heavy atoms of the largest amons that were learned from, ascending.
    n_amons : tuple of int, (K,)
        Geometries that were learned from.
    errors_kcal : tuple of float, (K,)
        Predicted minus reference energy, kcal/mol per ``per``.
    per : str
        ``"molecule"``, ``"monomer"`` or ``"atom"``.
    n_atoms : int
        Atoms of the system; 0 where that means nothing (an interaction energy).
    """

    system: str
    reference_energy: float
    sizes: tuple[int, ...]
    n_amons: tuple[int, ...]
    errors_kcal: tuple[float, ...]
    per: str = "molecule"
    n_atoms: int = 0

    def __post_init__(self) -> None:
        """Check that all points are there."""
        if not len(self.sizes) == len(self.n_amons) == len(self.errors_kcal):
            raise ValueError(f"{self.system}: sizes, numbers of amons and errors differ in length.")

    @property
    def final(self) -> float | None:
        """Error with the largest amons, kcal/mol per unit; None without any point."""
        return self.errors_kcal[-1] if self.errors_kcal else None


@dataclass(frozen=True)
class Options:
    """Hold what the command line says to all classes.

    Parameters
    ----------
    output : Path
        Folder for databases and results; exists.
    demo, qm7, qm9 : Path or None
        Files of data that some classes need.
    n_workers : int
        Processes that label.
    max_heavy : int or None
        Largest amons, heavy atoms; None for each class's own.
    n_systems : int or None
        Most systems of a class; None for all.
    progress : bool
        Show progress bars.
    seed : int
        Of random choices and of conformers.
    """

    output: Path
    demo: Path | None = None
    qm7: Path | None = None
    qm9: Path | None = None
    n_workers: int = 1
    max_heavy: int | None = None
    n_systems: int | None = None
    progress: bool = True
    seed: int = 0


def write_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Write curves as JSON; ``path`` is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps([asdict(curve) for curve in curves], indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def read_curves(path: Path) -> list[Curve]:
    """Read what `write_curves` wrote."""
    lists = ("sizes", "n_amons", "errors_kcal")
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [Curve(**{key: tuple(v) if key in lists else v for key, v in entry.items()}) for entry in entries]
