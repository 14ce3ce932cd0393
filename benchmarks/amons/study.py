"""Learn the systems of a class from amons by its protocol: cut, label, fit, predict, and see the error."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import ground_state_magnetic_moments
from scipy.spatial import cKDTree

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.fragments.conformers import ConformerSet, geometry_fingerprint, most_different
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.models.amons.fragments.shells import shell_geometries
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.reference.levels import LevelOfTheory, TbliteLevel
from ase_mlwave.systems.conversion import system_from_atoms
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR
from benchmarks.amons.classes import Curve, SystemClass
from benchmarks.common import KCAL_PER_MOL, bar
from benchmarks.references import Relaxing, label

#: Queries that are predicted at a time, and that count in the rule for the widths.
_BATCH, _FOR_WIDTHS = 20, 50
#: An atom of an amon that is no nearer to one of the query is a cap, Bohr.
_PLACE = 1e-2


@dataclass(frozen=True)
class Target:
    """A system to be predicted."""

    system: str  # its name
    geometry: System  # Bohr
    energy: float  # reference, Hartree
    n_units: int = 1  # how many monomers or atoms errors are divided by

    @classmethod
    def of(cls, structure: Record | Atoms, system: str, n_units: int = 1, energy: float | None = None) -> Target:
        """Take a labelled molecule, or a structure whose energy (Hartree) is given."""
        known = getattr(structure, "energy", None) if energy is None else energy
        if known is None:
            raise ValueError(f"{system} has no energy.")
        return cls(system, structure if isinstance(structure, Record) else system_from_atoms(structure), known, n_units)


@dataclass(frozen=True)
class Case:
    """A query that amons are cut from, and the systems that they predict."""

    name: str
    query: Record | Atoms
    targets: Sequence[Target]


class Bench:
    """A class, what the command line says, and the levels that label."""

    def __init__(self, kind: SystemClass, chosen: argparse.Namespace) -> None:
        self.kind, self.chosen = kind, chosen
        self.cheap = TbliteLevel("gfn2-xtb")
        self.level = LevelOfTheory.parse(kind.labels or "gfn2-xtb")

    def names(self, names: Iterable[str]) -> list[str]:
        """Return the systems that are asked for."""
        return list(names)[: self.chosen.systems]

    def label(self, records: Sequence[Record], part: str, level: LevelOfTheory) -> list[Record | None]:
        """Label into the database ``<class><part>.db``."""
        return label(records, self.chosen.output / f"{self.kind.name}{part}.db", level, self.chosen.workers)

    def relaxed(self, records: Sequence[Record]) -> list[Record | None]:
        """Relax queries tightly, and label them."""
        return self._exactly(self.label(records, "-queries", Relaxing(self.cheap, **self.kind.relax)))

    def amons(self, cut: Sequence[Record]) -> list[Record | None]:
        """Relax and label amons as the protocol says."""
        level = self.cheap if self.kind.amons == "as cut" else Relaxing(self.cheap)
        return self._exactly(self.label(cut, "-amons" if self.kind.labels else "", level))

    def _exactly(self, records: list[Record | None]) -> list[Record | None]:
        """Label relaxed molecules with the level that the class is asked at, if that is another one."""
        if not self.kind.labels:
            return records
        found = iter(self.label([record for record in records if record is not None], "", self.level))
        return [None if record is None else next(found) for record in records]

    def energy(self, atoms: Atoms) -> float:
        """Compute the energy of a structure as it is, Hartree."""
        numbers = np.array(atoms.numbers, dtype=np.int64)
        spin = int(ground_state_magnetic_moments[numbers[0]]) if len(atoms) == 1 else int(numbers.sum() % 2)
        energy = self.level.label(Record(numbers, atoms.positions / BOHR, spin=spin)).energy
        assert energy is not None
        return energy

    def cut(self, case: Case) -> list[Record]:
        """Cut the amons of a case."""
        kind, asked = self.kind, self.chosen.max_heavy
        largest = asked or kind.larger.get(case.name.split(",")[0], kind.max_heavy)
        radicals = kind.build == "sheets" and len(kind.parameters[case.name]) % 2 == 1
        options: dict[str, Any] = {"allow_radicals": radicals, **kind.cut}
        if kind.max_contact_heavy is not None:
            options["max_contact_heavy"] = max(2, min(asked or kind.max_contact_heavy, kind.max_contact_heavy))
        if kind.smaller and isinstance(case.query, Record):
            largest = min(largest, int((case.query.numbers > 1).sum()) - 1)
        if kind.amons == "caps":
            try:
                return cut_amons(case.query, largest, **options)
            except InputError:
                if kind.drawn:  # bonds became uncertain in the relaxation: no amons
                    return []
                raise
        found = list(amon_geometries(case.query, largest, **options))
        if kind.shells is not None and asked is None and isinstance(case.query, Atoms):
            shells = shell_geometries(case.query, allow_radicals=radicals, **kind.shells)
            found += [shell for shell in shells if shell.info["n_heavy"] > largest]
        return found


def cut_amons(query: Record | Atoms, max_heavy: int, **options: Any) -> list[Record]:
    """Cut amons that keep the coordinates of their query; ``info["caps"]`` lists the hydrogens that cap cut bonds.

    The environments of an amon are then those of the query but for what was cut off, at the same distances and angles:
    what the energies of relaxed amons lack is the energy that their bending takes.
    """
    amons = amon_geometries(query, max_heavy, relax=False, **options)
    positions = query.positions
    if isinstance(query, Atoms):  # a chain
        copies = range(-2 * max_heavy, 2 * max_heavy + 1)
        positions = np.vstack([query.positions + n * query.cell[0] for n in copies]) / BOHR
    tree = cKDTree(positions)
    caps = [np.flatnonzero(tree.query(amon.positions)[0] > _PLACE).tolist() for amon in amons]
    return [amon.with_info(caps=own) for amon, own in zip(amons, caps, strict=True)]


def distinct(records: Iterable[Record], max_conformers: int | None = None) -> list[Record]:
    """Keep every conformer of an amon once, or those that differ most; sorted by heavy atoms, then by SMILES."""
    seen: dict[tuple[int, str], tuple[ConformerSet, list[Record]]] = {}
    for record in records:
        key = int(record.info["n_heavy"]), f"{record.info['smiles']} {record.formula}"
        conformers, kept = seen.setdefault(key, (ConformerSet(), []))
        if conformers.add(record.positions):
            kept.append(record)
    found: list[Record] = []
    for _, (_, kept) in sorted(seen.items(), key=lambda item: item[0]):
        fingerprints = np.array([geometry_fingerprint(record.positions) for record in kept])
        chosen = range(len(kept)) if max_conformers is None else most_different(fingerprints, max_conformers)
        found += [kept[index] for index in chosen]
    return found


def learning_curves(
    targets: Sequence[Target],
    amons: Sequence[Record],
    level: str,
    *,
    per: str = "molecule",
    sizes: Sequence[int] | None = None,
    also: Sequence[System] = (),
    **fit: Any,
) -> list[Curve]:
    """Predict systems from amons of growing size, as far as these know all elements of the system.

    The amons learned from, the first 50 systems and what is in ``also`` count in the rule for the kernel's widths;
    ``fit`` goes to `fit_amons`.
    """
    points: list[list[tuple[int, int, float]]] = [[] for _ in targets]
    with bar() as progress:
        for size in progress.track(sorted(sizes or {int(r.info["n_heavy"]) for r in amons}), description="fit"):
            kept = [record for record in amons if record.info["n_heavy"] <= size]
            known = {z for record in kept for z in record.numbers.tolist()}
            chosen = [n for n, target in enumerate(targets) if set(target.geometry.numbers.tolist()) <= known]
            if not chosen:
                continue
            seen = [*also, *(target.geometry for target in targets[:_FOR_WIDTHS])]
            seen = [geometry for geometry in seen if set(geometry.numbers.tolist()) <= known]
            model = fit_amons(kept, level, others=seen, **fit).model
            for start in range(0, len(chosen), _BATCH):
                some = chosen[start : start + _BATCH]
                for n, found in zip(some, predict_batch(model, [targets[n].geometry for n in some]), strict=True):
                    error = (found.energy - targets[n].energy) * KCAL_PER_MOL / targets[n].n_units
                    points[n].append((size, len(kept), error))
    curves = []
    for target, found in zip(targets, points, strict=True):
        at, n_amons, errors = zip(*found, strict=True) if found else ((), (), ())
        curves.append(Curve(target.system, target.energy, at, n_amons, errors, per, len(target.geometry)))
    return curves


def learn(bench: Bench, cases: Sequence[Case]) -> list[Curve]:
    """Cut the amons of all cases, label them, and predict the systems of each."""
    kind, chosen = bench.kind, bench.chosen
    cuts = [bench.cut(case) for case in cases]
    if kind.conformers is not None:
        cuts = [distinct(chain(*cuts), kind.conformers), *([] for _ in cases[1:])]
    labelled = iter(bench.amons([*chain(*cuts)]))
    own = [[amon for amon in islice(labelled, len(cut)) if amon is not None] for cut in cuts]
    elements = {1, *(int(z) for case in cases for target in case.targets for z in target.geometry.numbers)}
    fit: dict[str, Any] = {"settings": kind.fit, "per": kind.per}
    fit["free_atoms"] = {z: bench.energy(Atoms([z])) for z in sorted(elements)}
    if kind.sizes is not None:
        fit["sizes"] = [size for size in kind.sizes if size <= (chosen.max_heavy or kind.max_heavy)]
    if kind.pool == "all":
        targets = [target for case in cases for target in case.targets]
        return learning_curves(targets, distinct(chain(*own)), bench.level.name, **fit)
    curves: list[Curve] = []
    known: list[Record] = []
    for case, amons in zip(cases, own, strict=True):
        known = [*known, *amons] if kind.pool == "before" else amons
        known = distinct(known) if kind.distinct else known
        present = {1, *(z for target in case.targets for z in target.geometry.numbers.tolist())}
        usable = [amon for amon in known if {*amon.numbers.tolist()} <= present]
        curves += learning_curves(case.targets, usable, bench.level.name, **fit)
    return curves
