"""The classes of systems: what each is, what it is asked to reach, and which module runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from benchmarks.amons.curve import Curve, Options

__all__ = ["CLASSES", "SystemClass"]


@dataclass(frozen=True)
class SystemClass:
    """Describe one row of the table.

    Parameters
    ----------
    name : str
        On the command line; also the module in this package, with underscores for hyphens.
    title, systems : str
        In the table.
    target : float
        Mean absolute error that is asked for, kcal/mol per ``per``.
    per : str
        ``"molecule"``, ``"monomer"`` or ``"atom"``.
    needs : tuple of str
        Options that name files it needs.
    max_heavy : int or None
        Heavy atoms of the largest amons that the target is for, where some curves go on beyond; None for each curve's
        last point.
    """

    name: str
    title: str
    systems: str
    target: float
    per: str = "molecule"
    needs: tuple[str, ...] = ()
    max_heavy: int | None = None

    def errors(self, curves: Sequence[Curve]) -> list[float]:
        """Return the errors that the target is for, kcal/mol per unit, of the curves that have one."""
        found = []
        for curve in curves:
            points = zip(curve.sizes, curve.errors_kcal, strict=True)
            kept = [error for size, error in points if self.max_heavy is None or size <= self.max_heavy]
            found += kept[-1:]
        return found

    @property
    def module(self) -> str:
        """Module with the function ``run``."""
        return f"benchmarks.amons.{self.name.replace('-', '_')}"

    @property
    def exists(self) -> bool:
        """Whether the module is there."""
        return find_spec(self.module) is not None

    @property
    def run(self) -> Callable[[Options], list[Curve]]:
        """The function that runs the class; each module has a ``run(options) -> list[Curve]``."""
        function: Callable[[Options], list[Curve]] = import_module(self.module).run
        return function

    @property
    def notes(self) -> str:
        """What a reader of the table should know, Markdown: ``NOTES`` of the module, if it has any."""
        return str(getattr(import_module(self.module), "NOTES", "")).strip() if self.exists else ""


_ALL = (
    SystemClass("demo", "public demo", "phenylacetaldehyde, published B3LYP data", 0.226, needs=("demo",)),
    SystemClass(
        "biomolecules", "biomolecules", "amino acids, peptides, sugars, vitamins, drugs, steroids", 1.0, max_heavy=7
    ),
    SystemClass("organic", "organic molecules", "of QM7 and QM9, 7 to 9 heavy atoms", 1.5, needs=("qm7", "qm9")),
    SystemClass("polymers", "polymers", "four common ones, chains and periodic cells", 1.0, "monomer"),
    SystemClass("water", "water clusters", "(H2O)n", 0.3),
    SystemClass("hbn", "hBN sheets", "pure and carbon-doped", 0.5, "atom"),
    SystemClass("silicon", "bulk silicon", "perfect and distorted cells", 0.5, "atom"),
    SystemClass("base-pairs", "base pairs", "A-T and G-C, and their interaction energies", 1.0),
    SystemClass("pbe", "PBE/def2-SVP", "well-known organic molecules with 7 to 9 heavy atoms", 1.5),
    SystemClass(
        "pbe-random", "PBE/def2-SVP, at random", "7 to 9 heavy atoms, of QM7 and QM9", 1.5, needs=("qm7", "qm9")
    ),
)

#: Name on the command line -> class, in the order of the table.
CLASSES: dict[str, SystemClass] = {one.name: one for one in _ALL}
