"""Organic molecules with density functional theory, drawn at random."""

from __future__ import annotations

from rdkit import Chem

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.perception import molecule_from
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.molecules import choose
from benchmarks.amons.pbe import learn
from benchmarks.amons.study import need

__all__ = ["run"]

#: For the table.
NOTES = """
- Labelled as the molecules that chemists know. Four of QM7, six of the part of QM9 that has at most 14 atoms, which is
  strained, conjugated and poor in hydrogen: few fragments keep the hybridisation of such molecules, so ten to forty
  amons have to tell all. Of the sulfonamide there are ten (sulfur that loses three neighbours is dropped).
"""
#: Of each file: heavy atoms and how many.
_FROM_QM7, _FROM_QM9 = ((7,), 4), ((8, 9), 6)


def run(options: Options) -> list[Curve]:
    """Learn each molecule from its own amons."""
    found: list[Record] = []
    for name, (sizes, count) in (("qm7", _FROM_QM7), ("qm9", _FROM_QM9)):
        found += choose(need(options, name), sizes, count, options.seed)
    molecules = found[: options.n_systems]
    return learn([_smiles(molecule) for molecule in molecules], molecules, "pbe-random", options)


def _smiles(query: Record) -> str:
    """Write a molecule as SMILES."""
    return str(Chem.MolToSmiles(Chem.RemoveHs(molecule_from(query).to_rdkit()), isomericSmiles=False))
