"""Two dozen biomolecules, each learned from its own amons with at most seven heavy atoms."""

from __future__ import annotations

from itertools import chain, islice

from ase_mlwave.reference.levels import TbliteLevel
from ase_mlwave.reference.molecules import from_smiles
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.study import LIKELY, Query, Relaxing, bar, cut_amons, distinct, free_atoms, label, learning_curves

__all__ = ["MOLECULES", "run"]

#: For the table.
NOTES = """
- Molecules are relaxed with GFN2-xTB from one MMFF94 conformer each. Amons keep the coordinates of the relaxed
  molecule; only the hydrogens that cap cut bonds are relaxed, so that the strain of the molecule is in its amons.
- Fragments that touch, such as the two ends of a hydrogen bond within the molecule, are amons as well, up to seven
  heavy atoms together. Widths of the kernel and the penalty are the most likely ones.
- No amon of seven atoms shows more than one of the two fused aromatic rings of tryptophan and caffeine. Their curves go
  on to nine atoms, where indole is an amon of tryptophan; taken there, the mean over all molecules is 0.72.
"""
#: Neutral, without stereochemistry: RDKit chooses.
MOLECULES = {
    # amino acids
    "methionine": "CSCCC(N)C(=O)O",
    "histidine": "NC(Cc1c[nH]cn1)C(=O)O",
    "phenylalanine": "NC(Cc1ccccc1)C(=O)O",
    "tyrosine": "NC(Cc1ccc(O)cc1)C(=O)O",
    "arginine": "NC(=N)NCCCC(N)C(=O)O",
    "tryptophan": "NC(Cc1c[nH]c2ccccc12)C(=O)O",
    # peptides
    "Ac-Ala-NHMe": "CC(=O)NC(C)C(=O)NC",
    "Ala-Leu": "CC(N)C(=O)NC(CC(C)C)C(=O)O",
    "Ala-Ala-Ala": "CC(N)C(=O)NC(C)C(=O)NC(C)C(=O)O",
    "aspartame": "COC(=O)C(Cc1ccccc1)NC(=O)C(N)CC(=O)O",
    # sugars
    "ribose": "OCC1OC(O)C(O)C1O",
    "glucose": "OCC1OC(O)C(O)C(O)C1O",
    "sucrose": "OCC1OC(OC2(CO)OC(CO)C(O)C2O)C(O)C(O)C1O",
    # vitamins
    "vitamin C": "OCC(O)C1OC(=O)C(O)=C1O",
    "pyridoxine": "Cc1ncc(CO)c(CO)c1O",
    "pantothenic acid": "CC(C)(CO)C(O)C(=O)NCCC(=O)O",
    "biotin": "O=C1NC2CSC(CCCCC(=O)O)C2N1",
    "retinol": "CC(C=CC1=C(C)CCCC1(C)C)=CC=CC(C)=CCO",
    # drugs
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "ibuprofen": "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    # steroids
    "testosterone": "CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O",
    "cholesterol": "CC(C)CCCC(C)C1CCC2C3CC=C4CC(O)CCC4(C)C3CCC12C",
}
_MAX_HEAVY = 7
#: No amon of seven heavy atoms holds two fused aromatic rings; these curves go on to the size of the two rings.
_FUSED = {"tryptophan": 9, "caffeine": 9}


def run(options: Options) -> list[Curve]:
    """Relax each molecule, cut its amons, relax their caps, label them, and predict the molecule."""
    level = TbliteLevel("gfn2-xtb")
    names = list(MOLECULES)[: options.n_systems]
    built = [from_smiles(MOLECULES[name], options.seed) for name in names]
    tight = Relaxing(level, largest_force=2e-4, steps=1000)
    relaxed = label(built, options.output / "biomolecules-queries.db", tight, options, "relax molecules")
    pairs = [(name, query) for name, query in zip(names, relaxed, strict=True) if query is not None]
    cuts = []
    with bar(options, "cut amons") as advance:
        for name, query in pairs:
            size = options.max_heavy or _FUSED.get(name, _MAX_HEAVY)
            cuts.append(cut_amons(query, size, max_contact_heavy=min(size, _MAX_HEAVY)))
            advance(1, len(pairs))
    amons = iter(label([*chain(*cuts)], options.output / "biomolecules.db", Relaxing(level), options, "label amons"))
    free = free_atoms([z for _, query in pairs for z in query.numbers.tolist()], level)
    curves = []
    for (name, query), cut in zip(pairs, cuts, strict=True):
        own = distinct(amon for amon in islice(amons, len(cut)) if amon is not None)
        curves += learning_curves([Query.of(query, name)], own, level.name, free=free, settings=LIKELY)
    return curves
