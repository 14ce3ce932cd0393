"""Loose relaxation of amons with the method that labels them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ase.optimize import BFGS

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.conformers import ConformerSet
from ase_mlwave.models.amons.fragments.perception import bonded_pairs
from ase_mlwave.units import BOHR, HARTREE_PER_BOHR

__all__ = ["relax_amons"]


def relax_amons(
    records: Iterable[Record], calculator: Any, *, largest_force: float = 2e-3, steps: int = 100
) -> tuple[Record, ...]:
    """Relax amons loosely, and drop those that became another molecule or a conformer that is there already.

    Parameters
    ----------
    records : iterable of Record
        Amons, see ``amon_geometries``.
    calculator : ase.calculators.calculator.Calculator
        The reference method.
    largest_force : float
        Force on an atom at which to stop, Hartree/Bohr.
    steps : int
        Largest number of steps; a geometry that is not converged by then is kept as it is.

    Returns
    -------
    tuple of Record
        In the order given, without labels, ``info`` unchanged.

    Notes
    -----
    Another molecule is one whose pairs of bonded atoms differ (``test_amon_that_falls_apart_is_dropped``).
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020), loose optimisation of amons.
    """
    relaxed: list[Record] = []
    conformers_of: dict[tuple[str, str], ConformerSet] = {}
    for record in records:
        atoms = atoms_from_record(record)
        bonds, _ = bonded_pairs(atoms)
        atoms.calc = calculator
        BFGS(atoms, logfile=None).run(fmax=largest_force * HARTREE_PER_BOHR, steps=steps)
        if bonded_pairs(atoms)[0] != bonds:
            continue
        positions = atoms.positions / BOHR
        conformers = conformers_of.setdefault((str(record.info.get("smiles")), record.formula), ConformerSet())
        if conformers.add(positions):
            relaxed.append(replace(record.unlabelled(), positions=positions))
    return tuple(relaxed)
