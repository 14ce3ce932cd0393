"""A thousand molecules of QM7 and QM9, learned from the amons of all of them."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Record
from ase_mlwave.reference.levels import TbliteLevel
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.molecules import choose
from benchmarks.amons.study import (
    LIKELY,
    Query,
    Relaxing,
    bar,
    cut_amons,
    distinct,
    free_atoms,
    label,
    learning_curves,
    need,
)

__all__ = ["run"]

#: For the table.
NOTES = """
- One model for all molecules, of the amons of all of them: amons smaller than the molecule they are cut from, at most
  two conformers each; widths of the kernel and the penalty are the most likely ones of 400 amons. Half of the molecules
  are QM7's of seven heavy atoms, half QM9's of eight and nine.
- The part of QM9 at hand holds molecules of at most 14 atoms: poor in hydrogen, conjugated, strained, fused. Amons of
  seven atoms, out of nine, do not show all of that; QM7's molecules are closer to what chemists make.
"""
#: Of each file: heavy atoms, and how many molecules.
_FROM_QM7, _FROM_QM9 = ((7,), 500), ((8, 9), 500)
_MAX_HEAVY, _CONFORMERS = 7, 2
#: Points of the curves: before, too little is known to be worth a thousand predictions.
_SIZES = (3, 4, 5, 6, 7)


def run(options: Options) -> list[Curve]:
    """Relax the molecules, pool their amons, relax the caps, label those, and predict all molecules with one model."""
    level = TbliteLevel("gfn2-xtb")
    tight = Relaxing(level, largest_force=2e-4, steps=500)
    relaxed = label(_molecules(options), options.output / "organic-queries.db", tight, options, "relax molecules")
    queries = [query for query in relaxed if query is not None]
    cut: list[Record] = []
    with bar(options, "cut amons") as advance:
        for query in queries:
            cut += _amons(query, options)
            advance(1, len(queries))
    pooled = distinct(cut, _CONFORMERS)
    found = label(pooled, options.output / "organic.db", Relaxing(level), options, "relax and label amons")
    amons = distinct(amon for amon in found if amon is not None)
    free = free_atoms(np.unique(np.concatenate([query.numbers for query in queries])).tolist(), level)
    named = [Query.of(query, str(query.info["name"])) for query in queries]
    sizes = [size for size in _SIZES if size <= (options.max_heavy or _MAX_HEAVY)]
    return learning_curves(named, amons, level.name, free=free, settings=LIKELY, sizes=sizes, options=options)


def _molecules(options: Options) -> list[Record]:
    """Take half from each file."""
    found = []
    for name, (sizes, count) in (("qm7", _FROM_QM7), ("qm9", _FROM_QM9)):
        most = count if options.n_systems is None else min(count, (options.n_systems + 1) // 2)
        found += choose(need(options, name), sizes, most, options.seed)
    return found[: options.n_systems]


def _amons(query: Record, options: Options) -> tuple[Record, ...]:
    """Cut a molecule into amons smaller than itself; it has none where its bonds are no longer certain."""
    n_heavy = int((query.numbers > 1).sum())
    try:
        return cut_amons(query, min(options.max_heavy or _MAX_HEAVY, n_heavy - 1))
    except InputError:
        return ()
