"""Build the systems of each class, with their reference energies, and run it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from ase.data import atomic_numbers

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.reference.levels import TbliteLevel
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR, HARTREE
from benchmarks.amons import systems
from benchmarks.amons.classes import Curve, SystemClass
from benchmarks.amons.study import Bench, Case, Target, learn, learning_curves
from benchmarks.common import KCAL_PER_MOL, read_json

#: Rings from the middle of the largest flake.
_RINGS = 4
#: Repetitions of the cell in the reference of crystals.
SUPERCELL = (2, 2, 2)


def run(kind: SystemClass, chosen: argparse.Namespace) -> list[Curve]:
    if kind.build == "published":
        return _published(kind, chosen)
    bench = Bench(kind, chosen)
    curves = learn(bench, _BUILDERS[kind.build](bench))
    return _interactions(curves) if kind.build == "pairs" else curves


def _molecules(bench: Bench) -> list[Case]:
    """Take molecules by SMILES, or drawn from files."""
    kind, chosen = bench.kind, bench.chosen
    names = bench.names(kind.molecules)
    records = [from_smiles(kind.molecules[name], chosen.seed) for name in names]
    for file, drawn in kind.drawn.items():
        half = drawn["count"] if chosen.systems is None or kind.pool != "all" else (chosen.systems + 1) // 2
        count = min(drawn["count"], half)
        records += systems.choose(getattr(chosen, file), drawn["sizes"], count, chosen.seed)
    records = records[: chosen.systems]
    if kind.drawn:
        names = [str(r.info["name"] if kind.named_by == "file" else systems.smiles_of(r)) for r in records]
    return _relaxed(bench, names, records)


def _relaxed(bench: Bench, names: Sequence[str], records: Sequence[Record]) -> list[Case]:
    """Relax queries, which predict themselves; those that fail are left out."""
    pairs = [(name, found) for name, found in zip(names, bench.relaxed(records), strict=True) if found is not None]
    units = bench.kind.parameters  # of droplets the number of molecules
    return [Case(name, found, [Target.of(found, name, units.get(name, 1))]) for name, found in pairs]


def _built(bench: Bench) -> tuple[list[str], list[Record]]:
    """Read the structures that a class begins with."""
    names = bench.names(bench.kind.parameters)
    return names, [record_from_atoms(systems.built(name)) for name in names]


def _polymers(bench: Bench) -> list[Case]:
    """Relax finite chains, and make infinite ones that repeat the middle of them.

    The energy of an infinite chain is that of a cell: what one more cell adds to a finite chain of the same geometry.
    """
    cases = []
    names, records = _built(bench)
    chains = zip(names, bench.relaxed(records), strict=True)
    for name, chain in ((name, chain) for name, chain in chains if chain is not None):
        n_monomers, n_cells = bench.kind.parameters[name]
        cell = systems.middle_cell(chain, n_cells)
        finite = Target.of(chain, f"{name}, chain", n_monomers * n_cells)
        infinite = Target.of(cell, f"{name}, cell", n_monomers, cell_energy(bench, cell))
        cases += [Case(finite.system, chain, [finite]), Case(infinite.system, cell, [infinite])]
    return cases


def cell_energy(bench: Bench, cell: Atoms, n_cells: int = 4) -> float:
    """Compute what one more cell adds to a finite chain that repeats it, Hartree."""
    short, long = (bench.energy(systems.finite_chain(cell, count)) for count in (n_cells, n_cells + 1))
    return long - short


def _sheets(bench: Bench) -> list[Case]:
    """Take a flake and an infinite sheet of hexagonal boron nitride, as they are, of each kind.

    GFN2-xTB of a periodic sheet in tblite depends on the height of the empty space as 1/height, and is still 1.9
    kcal/mol an atom above the limit of large flakes at 20 Angstrom. The references are therefore flakes: of themselves,
    and, for an infinite sheet, the limit of three hexagonal flakes (energy = a pairs + b hydrogens + c); a dopant
    changes a sheet as it changes the middle of a flake.
    """
    n_rings = _RINGS if bench.chosen.max_heavy is None else 3
    flakes = [systems.built(f"flake {count}") for count in range(n_rings - 2, n_rings + 1)]
    rows = [[np.count_nonzero(one.numbers == 5), np.count_nonzero(one.numbers == 1), 1.0] for one in flakes]
    pair = float(np.linalg.solve(np.array(rows), [bench.energy(one) for one in flakes])[0])
    bare = bench.energy(flakes[1])
    cases = []
    for name in bench.names(bench.kind.parameters):
        sites = bench.kind.parameters[name]
        sheet = systems.built("sheet 4" if sites else "sheet 1", sites)
        flake = systems.built(f"flake {n_rings - 1}", sites)
        energy = bench.energy(flake)
        finite = Target.of(flake, f"flake, {name}", len(flake), energy)
        infinite = Target.of(sheet, f"sheet, {name}", len(sheet), pair * len(sheet) / 2 + energy - bare)
        cases.append(Case(name, sheet, [finite, infinite]))
    return cases


def _crystals(bench: Bench) -> list[Case]:
    """Take cells of silicon, as they are.

    The reference is tblite's GFN2-xTB of a supercell of 64 atoms at the Gamma point; a perfect one of 216 atoms is
    lower by 0.09 kcal/mol an atom.
    """
    cases = []
    for name in bench.names(bench.kind.parameters):
        cell, cubic = systems.built(f"silicon, {name}"), systems.built(f"silicon, {name}, cubic")
        energy = supercell_energy(cubic) * len(cell) / len(cubic)
        cases.append(Case(name, cell, [Target.of(cell, name, len(cell), energy)]))
    return cases


def supercell_energy(cell: Atoms) -> float:
    """Compute the energy of a cell from that of its supercell, Hartree."""
    supercell = cell.repeat(SUPERCELL)
    supercell.calc = TbliteLevel("gfn2-xtb").calculator(Record(supercell.numbers, supercell.positions / BOHR))
    energy: float = supercell.get_potential_energy() / HARTREE * len(cell) / len(supercell)
    return energy


def _pairs(bench: Bench) -> list[Case]:
    """Relax Watson-Crick base pairs and bases, each by itself; amons are cut from the pairs."""
    cases = []
    names = bench.names(bench.kind.parameters)
    parts = []
    for name in names:
        pair, first = systems.built(name), bench.kind.parameters[name]
        parts += [record_from_atoms(part) for part in (pair, pair[:first], pair[first:])]
    found = bench.relaxed(parts)
    for place, name in enumerate(names):
        titles = [name, *(f"{name}: {base}" for base in name.split("-"))]
        three = [record for record in found[3 * place : 3 * place + 3] if record is not None]
        if len(three) < 3:
            raise CalculationFailed(f"the pair {name} or a base could not be relaxed.")
        cases.append(Case(name, three[0], [Target.of(one, title) for one, title in zip(three, titles, strict=True)]))
    return cases


def _interactions(curves: Sequence[Curve]) -> list[Curve]:
    """Take the energies of the bases off those of each pair, where all three are known."""
    found = []
    for start in range(0, len(curves), 3):
        pair, *bases = curves[start : start + 3]
        errors = [dict(zip(curve.sizes, curve.errors_kcal, strict=True)) for curve in (pair, *bases)]
        sizes = tuple(size for size in pair.sizes if all(size in known for known in errors))
        binding = pair.reference_energy - sum(base.reference_energy for base in bases)
        interaction = replace(
            pair,
            system=f"{pair.system}, interaction ({binding * KCAL_PER_MOL:.1f})",
            reference_energy=binding,
            sizes=sizes,
            n_amons=tuple(n for size, n in zip(pair.sizes, pair.n_amons, strict=True) if size in sizes),
            errors_kcal=tuple(errors[0][size] - sum(known[size] for known in errors[1:]) for size in sizes),
            n_atoms=0,
        )
        found += [pair, interaction]
    return found


_BUILDERS: dict[str, Callable[[Bench], list[Case]]] = {
    "molecules": _molecules,
    "polymers": _polymers,
    "droplets": lambda bench: _relaxed(bench, *_built(bench)),
    "sheets": _sheets,
    "crystals": _crystals,
    "pairs": _pairs,
}


def _published(kind: SystemClass, chosen: argparse.Namespace) -> list[Curve]:
    """Reproduce the curve of the public program's demo, with its B3LYP energies, geometries and settings."""
    data = read_json(chosen.demo)
    if not {"amons", "target"} <= data.keys():
        raise InputError(f"{chosen.demo} is no data of the demo: it needs the entries amons and target.")
    amons, query = [_entry(entry) for entry in data["amons"]], _entry(data["target"])
    energies = next(value for key, value in data.items() if key.startswith("atomic_energies"))
    free = {atomic_numbers[symbol]: float(energy) for symbol, energy in energies.items()}
    slatm = SlatmConfig(elements=("H", "C", "O"), smooth=False, distance_step=0.04, angle_step=0.04)
    fit: dict[str, Any] = {
        "settings": kind.fit,
        "free_atoms": free,
        "representation": slatm,
        "also": amons,
    }  # as published
    # Methane, the smallest amon, has no oxygen: a free atom lets the curve begin at one heavy atom, as published.
    smallest = {z for record in amons if record.info["n_heavy"] == 1 for z in record.numbers.tolist()}
    missing = sorted(set(query.numbers.tolist()) - smallest)
    lone = [Record(np.array([z]), np.zeros((1, 3)), energy=free[z], info={"n_heavy": 1}) for z in missing]
    sizes = sorted({int(record.info["n_heavy"]) for record in amons})
    target = [Target.of(query, str(query.info["smiles"]))]
    (one,) = learning_curves(target, [*amons, *lone], "b3lyp/cc-pvdz", sizes=sizes[:1], **fit)
    (rest,) = learning_curves(target, amons, "b3lyp/cc-pvdz", sizes=sizes[1:], **fit)
    n_amons = (one.n_amons[0] - len(lone), *rest.n_amons)
    return [replace(rest, sizes=tuple(sizes), n_amons=n_amons, errors_kcal=one.errors_kcal + rest.errors_kcal)]


def _entry(entry: dict[str, Any]) -> Record:
    numbers = np.array([atomic_numbers[symbol] for symbol in entry["symbols"]])
    info = {"smiles": entry["smiles_rdkit"], "n_heavy": entry["n_heavy"]}
    return Record(numbers, np.array(entry["positions"]) / BOHR, energy=entry["energy_hartree"], info=info)
